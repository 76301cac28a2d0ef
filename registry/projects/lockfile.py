"""The lockfile: the exact releases a project got (`specs/lockfile.md`).

The same pins give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import Digest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import (
    MANIFEST_FILE,
    RELEASE_FILES,
    SIGNATURE_FILE,
    TENSOR_FILE,
    Count,
    FileRecord,
    Name,
    Namespace,
    Text,
)
from modpm.core.formats.requirements import Requirement, canonical_version, parse_version
from modpm.registry.addresses import Address
from modpm.registry.projects.measurements import LockedMeasurement
from modpm.registry.projects.toml_file import TomlFile, toml_string

if TYPE_CHECKING:
    from modpm.registry.index import Release

FORMAT_VERSION = 1

_COMMENT = "# Written by `modpm install`; keep it under version control, and do not edit it."


class LockedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a pinned release."""

    size_bytes: Count
    digest: Digest


class LockedModule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pinned release as the lockfile writes it."""

    name: Name
    version: Annotated[str, msgspec.Meta(max_length=64)]
    digest: Digest
    registry: Address
    files: dict[str, LockedFile]
    requires: tuple[Text, ...] = ()
    revision: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class LockDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lockfile as it is written."""

    format_version: int
    requirements: tuple[Text, ...] = ()
    same_origin: bool = False
    signers: dict[Namespace, Digest] = {}
    modules: tuple[LockedModule, ...] = ()
    measured: tuple[LockedMeasurement, ...] = ()


class Pin(msgspec.Struct, frozen=True):
    """One release, exactly.

    Attributes:
        digest: The digest of the manifest, which names the release.
        files: Every file, the manifest too.
        revision: The commit, for a registry that has commits (`Backend.revision`).
    """

    module: ModuleName
    version: str
    digest: str
    registry: Address
    files: Mapping[str, FileRecord]
    requires: tuple[str, ...] = ()
    revision: str | None = None

    @classmethod
    def of(
        cls,
        module: ModuleName,
        release: "Release",
        registry: Address,
        revision: str | None = None,
    ) -> Self:
        """Return the pin of a release."""
        files = MappingProxyType(dict(release.installed_files))
        requires = tuple(release.requires)
        return cls(module, release.version, release.digest, registry, files, requires, revision)

    def __hash__(self) -> int:
        return hash((self.module, self.version, self.digest, self.registry))

    @property
    def is_composition(self) -> bool:
        """Whether it is a composition, which alone has no such tensors (M-18, M-26)."""
        return TENSOR_FILE not in self.files

    @property
    def size_bytes(self) -> int:
        """What all files take."""
        return sum(file.size_bytes for file in self.files.values())


class Lockfile(msgspec.Struct, frozen=True):
    """All pins of a project, and what they were chosen for.

    Attributes:
        requirements: What `modpm.toml` asked for, sorted.
        same_origin: Modules that were asked for together came from one origin.
        signers: Namespace to the key that its releases were signed with; of pinned modules only.
        measured: What classifiers of pinned releases were measured at.
    """

    requirements: tuple[str, ...]
    pins: tuple[Pin, ...]
    same_origin: bool = False
    signers: Mapping[str, str] = msgspec.field(default_factory=dict)
    measured: tuple[LockedMeasurement, ...] = ()

    @classmethod
    def of(
        cls,
        requirements: Sequence[Requirement],
        pins: Sequence[Pin],
        *,
        same_origin: bool = False,
        signers: Mapping[str, str] = MappingProxyType({}),
        measured: Sequence[LockedMeasurement] = (),
    ) -> Self:
        """Return the lockfile of requirements and pins in any order.

        What was measured with other releases than are pinned is left out.
        """
        texts = sorted({str(requirement) for requirement in requirements})
        ordered = sorted(pins, key=lambda pin: pin.module)
        lock = cls(tuple(texts), tuple(ordered), same_origin).signed_by(signers)
        return lock.measuring(*measured) if measured else lock

    @classmethod
    def from_bytes(cls, data: bytes, path: Path, hint: str) -> Self:
        """Read a lockfile; `hint` says how to mend it.

        Raises:
            ModpmError: `invalid-lock`, `unknown-format-version` or `too-large`, or what the
                parts of a name, version or requirement raise.
        """
        of_file = TomlFile(path, "invalid-lock", hint)
        document = _document(data, of_file)
        pins = [_pin(module, of_file) for module in document.modules]
        if len({pin.module for pin in pins}) < len(pins):
            raise of_file.unreadable("a module is pinned twice")
        requirements = [Requirement.parse(text, str(path)) for text in document.requirements]
        return cls.of(
            requirements,
            pins,
            same_origin=document.same_origin,
            signers=document.signers,
            measured=document.measured,
        )

    def to_bytes(self) -> bytes:
        """Return the lockfile: the same bytes for the same pins."""
        lines = [_COMMENT, f"format_version = {FORMAT_VERSION}"]
        lines += _array("requirements", self.requirements)
        lines += ["same_origin = true"] if self.same_origin else []
        lines += ["", "[signers]"] if self.signers else []
        lines += [f"{toml_string(name)} = {toml_string(key)}" for name, key in self.signers.items()]
        for pin in self.pins:
            lines += _pin_lines(pin)
        for one in self.measured:
            lines += one.lines()
        return "".join(f"{line}\n" for line in lines).encode()

    def signed_by(self, signers: Mapping[str, str]) -> Self:
        """Return the lockfile with more signers, which go before those it had."""
        both = {**self.signers, **signers}
        pinned = {pin.module.namespace for pin in self.pins}
        kept = {namespace: both[namespace] for namespace in sorted(pinned & both.keys())}
        return msgspec.structs.replace(self, signers=MappingProxyType(kept))

    @property
    def digests(self) -> dict[str, str]:
        """Module to the digest of its release."""
        return {str(pin.module): pin.digest for pin in self.pins}

    def measuring(self, *measured: LockedMeasurement) -> Self:
        """Return the lockfile with more measurements, which go before those it had."""
        both = {one.subject: one for one in (*self.measured, *measured)}
        kept = [both[subject] for subject in sorted(both) if both[subject].holds(self.digests)]
        return msgspec.structs.replace(self, measured=tuple(kept))

    def find(self, module: ModuleName) -> Pin | None:
        """Return the pin of a module."""
        return next((pin for pin in self.pins if pin.module == module), None)


class Change(msgspec.Struct, frozen=True):
    """What became of one module, by version, and why it is a lower one than before (W-19)."""

    name: ModuleName
    before: str | None
    after: str | None
    lowered: str | None = None


def changes_between(
    before: Lockfile, after: Lockfile, lowered: Mapping[ModuleName, str] = MappingProxyType({})
) -> tuple[Change, ...]:
    """Return what is not the same in two lockfiles, sorted by name; why it is lower where known."""
    old = {pin.module: pin.version for pin in before.pins}
    new = {pin.module: pin.version for pin in after.pins}

    def change(name: ModuleName) -> Change:
        was, now = old.get(name), new.get(name)
        is_lower = was is not None and now is not None and parse_version(now) < parse_version(was)
        why = lowered.get(name, "modpm.lock pins it") if is_lower else None
        return Change(name, was, now, why)

    names = sorted(old.keys() | new.keys())
    return tuple(change(name) for name in names if old.get(name) != new.get(name))


def no_longer_measured(before: Lockfile, after: Lockfile) -> tuple[str, ...]:
    """Return the classifiers of which a lockfile has no measurement any more, sorted."""
    kept = {one.subject for one in after.measured}
    return tuple(sorted({one.classifier for one in before.measured if one.subject not in kept}))


def _document(data: bytes, of_file: TomlFile) -> LockDocument:
    raw = of_file.parse(data)
    version = raw.get("format_version")
    if isinstance(version, int) and version != FORMAT_VERSION:
        why = f"it has format version {version}; {FORMAT_VERSION} is read"
        raise _newer(of_file.path, why)
    try:
        return of_file.convert(LockDocument, raw)
    except ModpmError as error:
        if "unknown field" in (error.why or ""):  # the words of msgspec
            raise _newer(of_file.path, error.why) from None
        raise


def _newer(path: Path, why: str | None) -> ModpmError:
    return ModpmError(
        f"`{path.name}` was written by a newer version of modpm",
        code="unknown-format-version",
        where=str(path),
        why=why,
        hint="upgrade modpm",
    )


def _pin(locked: LockedModule, of_file: TomlFile) -> Pin:
    where = f"{of_file.path}, {locked.name}"
    for name in locked.files:
        if name not in {MANIFEST_FILE, SIGNATURE_FILE, *RELEASE_FILES}:
            raise of_file.unreadable(f"{name[:100]!r} is not a file of a module", locked.name)
    manifest = locked.files.get(MANIFEST_FILE)
    if manifest is None or manifest.digest != locked.digest:
        why = f"`{MANIFEST_FILE}` does not have the digest of the release"
        raise of_file.unreadable(why, locked.name)
    files = {
        name: FileRecord(size_bytes=file.size_bytes, digest=file.digest)
        for name, file in locked.files.items()
    }
    return Pin(
        ModuleName.parse(locked.name, where),
        canonical_version(locked.version, where),
        locked.digest,
        locked.registry,
        MappingProxyType(files),
        locked.requires,
        locked.revision,
    )


def _pin_lines(pin: Pin) -> list[str]:
    registry = pin.registry
    return [
        "",
        "[[modules]]",
        f"name = {toml_string(str(pin.module))}",
        f"version = {toml_string(pin.version)}",
        f"digest = {toml_string(pin.digest)}",
        f"registry = {{ name = {toml_string(registry.name)}, url = {toml_string(registry.url)} }}",
        *([f"revision = {toml_string(pin.revision)}"] if pin.revision is not None else []),
        *(_array("requires", pin.requires) if pin.requires else []),
        "",
        "[modules.files]",
        *(
            f'"{name}" = {{ size_bytes = {file.size_bytes}, digest = "{file.digest}" }}'
            for name, file in sorted(pin.files.items())
        ),
    ]


def _array(key: str, texts: Sequence[str]) -> list[str]:
    return [f"{key} = [", *(f"  {toml_string(text)}," for text in texts), "]"]
