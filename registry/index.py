"""The index of one name: what a registry lists for it (`specs/index.md`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import msgspec
from packaging.version import InvalidVersion, Version

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import (
    MAX_MODULES,
    AnyManifest,
    Strategy,
)
from modpm.core.formats.digest import Digest, digest_file
from modpm.core.formats.distribution import SIGNATURE_FILE, Distribution
from modpm.core.formats.manifest import (
    COMPOSITION,
    MANIFEST_FILE,
    ClassMetrics,
    Count,
    FileRecord,
    InputContract,
    Label,
    License,
    Manifest,
    Name,
    PositiveCount,
    Share,
    Text,
    Variant,
    picture_problems,
)
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import (
    Problem,
    Record,
    check_format_version,
    problems_error,
    read_record,
    said_alike,
    to_plain,
)
from modpm.core.formats.release_files import RELEASE_FILES
from modpm.core.formats.requirements import MAX_VERSION_LENGTH, Requirement

UPGRADE, _RESTORE = "upgrade modpm", "ask whoever keeps the registry to restore it"

FORMAT_VERSION = 1
"""Of the document, and of each entry: one that says nothing has it."""

_MAX_TOLD = 5

Time = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$(?!\n)",
        description="a time in UTC, such as `2025-01-31T12:00:00Z`",
    ),
]


class Release(Record, frozen=True, kw_only=True):
    """One version, as the index lists it: what is listed of class modules and compositions alike.

    Attributes:
        version: The version, in canonical form.
        files: Every other file that is installed.
        pictures: As in the manifest.
        yanked: Why nobody new should get it; None unless it is yanked.
        signature: The file `signature.json`; None unless it is signed.
        signer: The key that it is signed with (`sha256:` and 64 digits of its public part), as
            the signature says; None where it does not, or there is none.
    """

    version: Text
    digest: Digest
    manifest_size_bytes: PositiveCount
    files: dict[str, FileRecord]
    pictures: dict[str, FileRecord] | msgspec.UnsetType = msgspec.UNSET
    requires: list[Text] = msgspec.field(default_factory=list)
    summary: str = ""
    license: License
    published: Time
    yanked: Text | None = None
    signature: FileRecord | None = None
    signer: Text | None = None

    @classmethod
    def kind_of(cls, raw: Mapping[str, Any]) -> type[Self]:
        """Return the type of an entry: only compositions say their kind (clause I-8)."""
        kind: Any = CompositionRelease if "kind" in raw else ModuleRelease
        found: type[Self] = kind if issubclass(kind, cls) else cls
        return found

    @classmethod
    def of(cls, manifest: AnyManifest, manifest_file: FileRecord, published: str) -> "Release":
        """Return the entry of a distribution, which lists by the same names what that says."""
        kind = ModuleRelease if isinstance(manifest, Manifest) else CompositionRelease
        said = said_alike(kind, manifest)
        if isinstance(manifest, Manifest):
            said["origin"] = manifest.origin.digest
        else:
            said["composition"] = ListedComposition(
                **said_alike(ListedComposition, manifest.composition)
            )
        said |= {"digest": manifest_file.digest, "manifest_size_bytes": manifest_file.size_bytes}
        return kind(**said, published=published)

    @classmethod
    def of_distribution(cls, distribution: Distribution) -> "Release":
        """Return the entry of a distribution that is published now, with its signature.

        Raises:
            ModpmError: `bad-signature`.
        """
        manifest = _record(distribution.folder / MANIFEST_FILE)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        release = cls.of(distribution.manifest, manifest, now)
        signature = distribution.folder / SIGNATURE_FILE
        if not signature.is_file():
            return release
        # Not needed by those who only read what is listed.
        from modpm.registry.signing.signature import claimed_signer, read_signature  # noqa: PLC0415 -- slow to import

        signer = claimed_signer(read_signature(signature), str(signature))
        return msgspec.structs.replace(release, signature=_record(signature), signer=signer)

    def is_newer_than(self, time: Time | None) -> bool:
        """Say whether it was published after a time, as far as its registry is to be believed."""
        return time is not None and self.published > time

    @property
    def installed_files(self) -> Mapping[str, FileRecord]:
        """Every file that whoever uses the release has, the manifest and the signature too."""
        manifest = FileRecord(size_bytes=self.manifest_size_bytes, digest=self.digest)
        signature = {SIGNATURE_FILE: self.signature} if self.signature is not None else {}
        return {MANIFEST_FILE: manifest, **self.files, **signature}

    @property
    def all_pictures(self) -> Mapping[str, FileRecord]:
        """The pictures; none where none are listed."""
        return self.pictures if isinstance(self.pictures, dict) else {}

    @property
    def all_files(self) -> Mapping[str, FileRecord]:
        """Every file that the registry has of the release."""
        return {**self.installed_files, **self.all_pictures}

    @property
    def size_bytes(self) -> int:
        """What the files take that are installed."""
        return sum(file.size_bytes for file in self.installed_files.values())


class ModuleRelease(Release, frozen=True, kw_only=True):
    """One version of a class module.

    Attributes:
        origin: The digest of the network it was cut from.
        label, input, metrics, n_parameters, macs, variant: As in the manifest.
    """

    origin: Digest
    label: Label
    input: InputContract
    metrics: list[ClassMetrics] = msgspec.field(default_factory=list)
    n_parameters: Count
    macs: Count
    variant: Variant | msgspec.UnsetType = msgspec.UNSET


class ListedComposition(Record, frozen=True, kw_only=True):
    """A composition, as far as people choose by it.

    Attributes:
        labels: What the classifier tells apart, in the order of its outputs.
        strategy, reject, n_parameters, macs, measured: As in the manifest.
    """

    labels: Annotated[list[Label], msgspec.Meta(min_length=1, max_length=MAX_MODULES)]
    strategy: Strategy
    reject: Share | None = None
    n_parameters: Count
    macs: Count
    measured: list[Measurement] = msgspec.field(default_factory=list)


class CompositionRelease(Release, frozen=True, kw_only=True):
    """One version of a composition.

    Attributes:
        kind: Tells it from a class module.
        composition: What it is.
    """

    kind: Literal["composition"]
    composition: ListedComposition


def _record(path: Path) -> FileRecord:
    return FileRecord(size_bytes=path.stat().st_size, digest=digest_file(path))


class Skipped(NamedTuple):
    """An entry that this version of modpm cannot use, and keeps as it is (clause I-11).

    Attributes:
        is_newer: Whether that is that a newer version of modpm wrote it.
    """

    raw: canonical_json.Json
    why: str
    is_newer: bool = False

    @property
    def text(self) -> str | None:
        """What it says that its version is, whether that is one or not."""
        text = self.raw.get("version") if isinstance(self.raw, dict) else None
        return text if isinstance(text, str) else None

    @property
    def version(self) -> Version | None:
        """Its version; None if it does not say one in canonical form."""
        return None if self.text is None else read_version(self.text)


class IndexDocument(Record, frozen=True, kw_only=True):
    """What an index is in a file.

    Attributes:
        serial: How often the document was changed; nobody writes a lower one than was there.
            0 where a registry keeps no such document.
        releases: By version, ascending.
    """

    format_version: int = FORMAT_VERSION
    serial: Count = 0
    name: Name
    tags: dict[str, Text] = msgspec.field(default_factory=dict)
    releases: list[Release] = msgspec.field(default_factory=list)


class Index(IndexDocument, frozen=True, kw_only=True):
    """Everything a registry lists for one name.

    Attributes:
        skipped: The entries that cannot be used: they are in no other list, and stay.
    """

    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes, module: ModuleName, where: str) -> Self:
        """Read the index of `module` from bytes that nobody has vouched for.

        Raises:
            ModpmError: `invalid-index`, naming every problem; `unknown-format-version`;
                `invalid-json` or `too-large`.
        """
        raw = canonical_json.decode(data, where)
        check_format_version(raw, FORMAT_VERSION, what="the index", where=where)
        listed: Any = raw.get("releases") if isinstance(raw, dict) else None
        entries = [read_entry(one) for one in listed] if isinstance(listed, list) else []
        bare = {**raw, "releases": []} if isinstance(raw, dict) and entries else raw
        document, problems = read_record(IndexDocument, bare)
        if document is not None:
            problems = list(_problems(document, module, entries))
        if document is None or problems:
            raise problems_error(
                problems,
                what=f"the index of `{module}` cannot be used",
                code="invalid-index",
                where=where,
                hint=_RESTORE,
            )
        fields = {name: getattr(document, name) for name in document.__struct_fields__}
        fields["releases"] = [one for one in entries if isinstance(one, Release)]
        skipped = sorted((one for one in entries if isinstance(one, Skipped)), key=_place)
        return cls(**fields, skipped=tuple(skipped))

    def to_bytes(self) -> bytes:
        """Return the index as canonical JSON, which everybody can read again.

        Raises:
            ModpmError: `index-full`, if it would be too large; `invalid-index`, if something in
                it could not be read.
        """
        plain: Any = to_plain(msgspec.structs.replace(self, releases=[]))
        del plain["skipped"]
        plain["releases"] = [
            one.raw if isinstance(one, Skipped) else to_plain(one) for one in self.entries
        ]
        data = canonical_json.encode(plain)
        if len(data) > canonical_json.MAX_SIZE_BYTES:
            raise ModpmError(
                f"`{self.name}` has no room for more",
                code="index-full",
                why=f"what is listed for a name has at most {canonical_json.MAX_SIZE_BYTES:,} "
                f"bytes, and would have {len(data):,}",
                hint="go on under another name, or say less: shorter summaries, fewer metrics",
            )
        where = "what was to be written"
        again = self.from_bytes(data, ModuleName.parse(self.name), where)
        if [one.raw for one in again.skipped] != [one.raw for one in self.skipped]:
            raise ModpmError(
                f"the index of `{self.name}` could not be used by anybody",
                code="invalid-index",
                where=where,
                why=again.cannot_use(again.skipped, where).why,
            )
        return data

    def after(self, before: Self | None) -> Self:
        """Return the index as it is written in the place of another, with a higher serial."""
        serial = 1 + (0 if before is None else before.serial)
        return msgspec.structs.replace(self, serial=serial)

    def find(self, version: Version | str) -> Release | None:
        """Return the release of a version; 1.0 and 1.0.0 are one.

        Raises:
            ModpmError: `skipped-release`: there is one, and it cannot be used.
        """
        wanted = Version(version) if isinstance(version, str) else version
        if skipped := [one for one in self.skipped if one.version == wanted]:
            raise self.cannot_use(skipped)
        return next((r for r in self.releases if Version(r.version) == wanted), None)

    @property
    def entries(self) -> list[Release | Skipped]:
        """All entries, by version; those that say none are the last."""
        return sorted((*self.releases, *self.skipped), key=_place)

    def hidden(
        self, asked: Iterable[Requirement], chosen: str, where: str | None = None
    ) -> ModpmError | None:
        """Return what is to be said of skipped entries that would have been chosen otherwise.

        Args:
            asked: What is asked of the module.
            chosen: The version that was chosen.
            where: The registry.
        """
        than = Version(chosen)
        found = [
            one
            for one in self.skipped
            if one.version is not None
            and one.version > than
            and one.version.is_prerelease <= than.is_prerelease
            and all(self._admits(requirement, one.version) for requirement in asked)
        ]
        return self.cannot_use(found, where) if found else None

    def cannot_use(self, skipped: Sequence[Skipped], where: str | None = None) -> ModpmError:
        """Return the error that says of skipped entries why they are."""
        told = [f"{one.text or 'a release'}"[:100] for one in skipped[:_MAX_TOLD]]
        more = f" and {len(skipped) - _MAX_TOLD} more" if len(skipped) > _MAX_TOLD else ""
        whys = [f"{text} {one.why}" for text, one in zip(told, skipped, strict=False)]
        return ModpmError(
            f"{', '.join(told)}{more} of `{self.name}` cannot be used",
            code="skipped-release",
            where=where,
            why="; ".join(whys),
            hint=UPGRADE if all(one.is_newer for one in skipped) else _RESTORE,
        )

    def _admits(self, requirement: Requirement, version: Version) -> bool:
        if requirement.tag is not None:
            return self.tags.get(requirement.tag) == str(version)
        return requirement.admits(str(version))

    def with_yanked(self, release: Release, reason: str | None) -> Self:
        """Return the index with a release yanked for a reason; None takes that back."""
        changed = msgspec.structs.replace(release, yanked=reason)
        releases = [changed if one == release else one for one in self.releases]
        return msgspec.structs.replace(self, releases=releases)

    def until(self, time: Time | None, besides: Version | None = None) -> Self:
        """Return what was listed at a time.

        Args:
            time: The time; None for now.
            besides: A version that stays, whenever it was published.
        """
        if time is None:
            return self
        releases = [
            release
            for release in self.releases
            if not release.is_newer_than(time) or Version(release.version) == besides
        ]
        return msgspec.structs.replace(self, releases=releases)

    def newest(self) -> Release | None:
        """Return the release that stands for the name where no version is asked for.

        It is the newest that is not yanked, and a pre-release only where there is no other.

        Returns:
            The release; None if every one is yanked.
        """
        offered = [release for release in reversed(self.releases) if release.yanked is None]
        finals = (one for one in offered if not Version(one.version).is_prerelease)
        return next(finals, offered[0] if offered else None)

    def with_release(self, release: Release) -> Self:
        """Return the index with one release more."""
        releases = sorted([*self.releases, release], key=_place)
        return msgspec.structs.replace(self, releases=releases)


def release_in(index: Index | None, version: Version | str) -> Release | None:
    """Return what is listed under a version by an index that may not be there."""
    return None if index is None else index.find(version)


def read_entry(raw: canonical_json.Json) -> Release | Skipped:
    """Read one entry of an index, whatever the others are (clause I-11)."""
    if isinstance(raw, dict):
        version, kind = raw.get("format_version", FORMAT_VERSION), raw.get("kind", COMPOSITION)
        if type(version) is not int or version != FORMAT_VERSION:
            return Skipped(raw, f"has format version {str(version)[:100]}", is_newer=True)
        if kind != COMPOSITION:
            return Skipped(raw, f"is of the unknown kind {str(kind)[:100]!r}", is_newer=True)
    release, problems = read_record(Release, raw, _release_problems)
    if release is not None:
        return release
    told = [f"{one.path or 'it'} {one.message}" for one in problems[:_MAX_TOLD]]
    return Skipped(raw, f"is damaged: {', '.join(told)}")


def _release_problems(release: Release) -> Iterator[Problem]:
    if read_version(release.version) is None:
        yield Problem("version", "is not a version in canonical form")
    for name in release.files:
        if name not in RELEASE_FILES:
            yield Problem("files", f"{name[:100]!r} is not a file of a module")
    yield from picture_problems(dict(release.all_pictures))
    for j, requirement in enumerate(release.requires):
        if not _is_requirement(requirement):
            yield Problem(f"requires[{j}]", "is not a requirement")


def _problems(
    document: IndexDocument, module: ModuleName, entries: Sequence[Release | Skipped]
) -> Iterator[Problem]:
    if document.name != str(module):
        yield Problem("name", f"is `{document.name}`")
    versions = [_version(one) for one in entries]
    known = [version for version in versions if version is not None]
    if any(a >= b for a, b in pairwise(known)):
        yield Problem("releases", "are not in ascending order, each version once")
    listed = {one.text if isinstance(one, Skipped) else one.version for one in entries}
    for tag, text in document.tags.items():
        if text not in listed and None not in versions:  # it may be of an entry without one
            yield Problem(f"tags.{tag[:100]}", f"{text[:100]!r} is not a release")


def _version(entry: Release | Skipped) -> Version | None:
    return entry.version if isinstance(entry, Skipped) else read_version(entry.version)


def _place(entry: Release | Skipped) -> tuple[bool, Version]:
    """Order entries by version; those that have none come last."""
    version = _version(entry)
    return version is None, version or Version("0")


@lru_cache(maxsize=65_536)
def read_version(text: str) -> Version | None:
    """Return a version that is in canonical form; None for any other text."""
    try:
        version = Version(text if len(text) <= MAX_VERSION_LENGTH else "")
    except InvalidVersion:
        return None
    return version if str(version) == text else None


def _is_requirement(text: str) -> bool:
    try:
        Requirement.parse(text, where="")
    except ModpmError:
        return False
    return True
