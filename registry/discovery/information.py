"""What there is to know of class modules and compositions, without tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Protocol, overload

from msgspec.structs import replace

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import AnyManifest, parse_manifest
from modpm.core.formats.distribution import read_distribution, verify_distribution
from modpm.core.formats.manifest import MANIFEST_FILE, Manifest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.catalogue import Listing, RegistryCatalogue
from modpm.registry.index import Release
from modpm.registry.installing.installed import InstalledModule
from modpm.registry.installing.yanks import ask, keep, known_yanks
from modpm.registry.projects.lockfile import Lockfile
from modpm.registry.projects.project import Project
from modpm.registry.projects.sources import Sources
from modpm.registry.resolver.refusals import newest_fitting
from modpm.registry.resolver.shelves import without_variants
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.addresses import Registries
    from modpm.registry.projects.lockfile import Pin


@dataclass(frozen=True)
class Information:
    """One release.

    Attributes:
        digest: The digest of the manifest, which names the release.
        registry: Where it is, or came from; None for a folder that was given.
        path: The folder it is in, installed or given; None if it is in none.
        yanked: Why it was yanked, if its registry says so.
        signer: The key that its signature says it was made with; None if it is not signed. Of what
            is not installed that is what its registry says.
        problem: Why newer releases were left out, if there are some that cannot be used.
        files: All files that whoever uses it has.
    """

    manifest: AnyManifest
    digest: str
    size_bytes: int
    registry: str | None
    path: Path | None
    yanked: str | None = None
    signer: str | None = None
    problem: ModpmError | None = None
    files: Mapping[str, FileRecord] = field(default_factory=lambda: MappingProxyType({}))


@overload
def info(
    names: str,
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
) -> Information: ...


@overload
def info(
    names: list[str] | tuple[str, ...],
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
) -> list[Information]: ...


def info(
    names: str | list[str] | tuple[str, ...],
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
) -> Information | list[Information]:
    """Describe modules: of each the installed release, or else the one that would be installed.

    Of an installed release the registry is asked for nothing but whether it is yanked, and is
    not missed where it is away (W-8).

    Args:
        names: A module, or a requirement on one (`cifar10/cat==1.0.0`); or the folder of a
            distribution. An installed name wins over a folder, and `./cifar10/cat` is always
            the folder. Or a list of these, which may have whole namespaces (`cifar10/*`), without
            variants.
        project: A folder in the project.
        registry: Look in this registry, or these, and not at what is installed.
        offline: Open no registry: of a namespace there is what is installed.

    Returns:
        What there is to know of the one that is named, or of each in a list.

    Raises:
        ModpmError: `invalid-requirement`; of a folder, `not-a-distribution`, with what it is, or
            what `verify_distribution` raises; `offline`, if it is not installed; what
            `newest_fitting` raises; `unknown-namespace`; `wrong-digest` or `invalid-manifest`,
            for what a registry gives.
    """
    reader = _Reader(Project.discover(project), registry, is_offline=offline)
    if isinstance(names, str):
        return reader.named(names)
    return reader.each(names)


def members(
    found: Information,
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
) -> list[Information]:
    """Describe the class modules that a release is: its own, or those that it composes.

    Args:
        found: What is known of the release.
        project: As for `info`.
        registry: As for `info`.
        offline: As for `info`.

    Raises:
        ModpmError: As `info`; `broken-composition`, if a module is not the release that is named.
    """
    if isinstance(found.manifest, Manifest):
        return [found]
    reader = _Reader(Project.discover(project), registry, is_offline=offline)
    composed = found.manifest.composition.modules
    each = reader.each([f"{one.name}=={one.version}" for one in composed])
    for one, module in zip(composed, each, strict=True):
        if module.digest != one.digest:
            raise ModpmError(
                f"`{one.name}` {one.version} is not the release that the composition is made of",
                code="broken-composition",
                why=f"the composition names {one.digest}; this is {module.digest}",
            )
    return each


_Asked = Requirement | Path


class _Reader:
    """Reads releases of a project and its registries, which are opened once.

    Args:
        place: The project.
        registry: As for `info`.
        is_offline: Whether no registry may be opened.
    """

    def __init__(self, place: Project, registry: Registries, *, is_offline: bool) -> None:
        self._place = place
        self._registry = registry
        self._is_offline = is_offline
        with explained("read the manifest"):
            known = None if registry else place.installed()
        self._lock = known or Lockfile((), ())
        self._yanked: Mapping[ModuleName, str] = {}

    @cached_property
    def _catalogue(self) -> RegistryCatalogue:
        sources = Sources.of(self._place, self._place.wishes(), self._registry)
        if sources.given:
            return RegistryCatalogue(sources.given, self._place.root)
        return sources.catalogue((self._place.lock() or Lockfile((), ())).pins)

    def each(self, names: Sequence[str]) -> list[Information]:
        """Describe the modules that are named, and those of the namespaces, each once."""
        asked = list(dict.fromkeys(one for name in names for one in self._expanded(name)))
        far = [one.module for one in asked if isinstance(one, Requirement) and self._is_far(one)]
        if far and not self._is_offline:
            self._catalogue.read_ahead([module for module in far if module is not None])
        self._learn_yanks(asked)
        return in_threads(
            self._described,
            asked,
            "releases cannot be read",
            is_brief=lambda one: not self._is_far(one),
        )

    def _expanded(self, name: str) -> Sequence[_Asked]:
        asked = self._asked(name)
        if isinstance(asked, Path) or asked.module is not None:
            return [asked]
        there = {pin.module for pin in self._lock.pins if pin.module.namespace == asked.namespace}
        if not self._is_offline:
            there |= set(self._catalogue.modules(asked.namespace))
        if not there:
            raise self._absent(asked)
        return [replace(asked, name=module.name) for module in without_variants(sorted(there))]

    def named(self, name: str) -> Information:
        """Describe the one that is named."""
        asked = self._asked(name)
        if isinstance(asked, Requirement) and asked.module is None:
            raise ModpmError(
                f"`{name}` names a whole namespace",
                code="invalid-requirement",
                hint="name one module, such as `cifar10/cat`, or give a list of names",
                exit_code=2,
            )
        self._learn_yanks([asked])
        return self._described(asked)

    def _asked(self, name: str) -> _Asked:
        """Return what a name asks for; a folder of modpm where nothing of that name is there."""
        folder = Path(name).expanduser()
        if name.startswith((".", "/", "~")) or name.endswith("/"):
            return folder
        asked = Requirement.parse(name)
        is_module = asked.module is not None and (self._registry or self._pin(asked) is not None)
        return folder if not is_module and _is_known(folder) else asked

    def _pin(self, asked: Requirement) -> Pin | None:
        """Return the installed release that is asked for, if it is one."""
        pin = None if asked.module is None else self._lock.find(asked.module)
        if pin is None or asked.tag is not None or not asked.admits(pin.version):
            return None
        return pin

    def _is_far(self, asked: _Asked) -> bool:
        return isinstance(asked, Requirement) and self._pin(asked) is None

    def _learn_yanks(self, asked: Sequence[_Asked]) -> None:
        """Learn which of the installed releases that are asked for were yanked."""
        found = [self._pin(one) for one in asked if isinstance(one, Requirement)]
        pins = [pin for pin in found if pin is not None]
        if self._is_offline or not pins:
            self._yanked = known_yanks(self._place, pins)
            return
        with explained("read the manifest"):
            answer = ask(self._place, pins)._replace(changed=None)  # not of all releases
            keep(self._place, answer)
            self._yanked = known_yanks(self._place, pins, answer)

    def _described(self, asked: _Asked) -> Information:
        if isinstance(asked, Path):
            return _of_folder(asked)
        pin = self._pin(asked)
        with explained("read the manifest"):
            if pin is not None:
                return self._installed(pin)
            if self._is_offline or asked.module is None:
                raise self._absent(asked)
            return _listed(asked, self._catalogue.listing(asked.module))

    def _installed(self, pin: Pin) -> Information:
        folder = self._place.module_path(pin)
        return Information(
            manifest=read_distribution(folder).manifest,
            digest=pin.digest,
            size_bytes=pin.size_bytes,
            registry=pin.registry.location(self._place.root),
            path=folder,
            yanked=self._yanked.get(pin.module),
            signer=InstalledModule.of(pin, self._place).signer,
            files=pin.files,
        )

    def _absent(self, asked: Requirement) -> ModpmError:
        return ModpmError(
            f"`{asked}` is not installed, and no registry may be asked",
            code="offline",
            where=str(self._place.root),
            hint="run it without `--offline`",
        )


def _is_known(folder: Path) -> bool:
    """Say whether a folder is one of modpm."""
    return any((folder / file).is_file() for file in (MANIFEST_FILE, *_OTHERS))


def _of_folder(folder: Path) -> Information:
    for file, (what, hint) in _OTHERS.items():
        if (folder / file).is_file():
            raise ModpmError(
                f"`{folder.name}` is {what}, and not the folder of a release",
                code="not-a-distribution",
                where=str(folder),
                hint=hint,
            )
    found = verify_distribution(folder)
    release = Release.of_distribution(found)
    return Information(
        manifest=found.manifest,
        digest=found.digest,
        size_bytes=release.size_bytes,
        registry=None,
        path=folder,
        signer=release.signer,
        files=release.installed_files,
    )


_OTHERS = {
    "run.json": ("a run", "`modpm modularize RUN -o DIST` makes class modules of it"),
    "composition.json": ("a composed classifier", "`modpm evaluate CLF DATA` measures it"),
    "modules.json": ("a folder of class modules", "name one of the folders in it"),
    "modpm.toml": ("a project", "`modpm list --project PATH` shows what it has installed"),
}
"""Folders of modpm that are none of a release, by a file that only they have."""


def _listed(requirement: Requirement, listing: Listing) -> Information:
    backend, module = listing.backend, ModuleName.parse(listing.index.name)
    release = newest_fitting(listing.index, [requirement], backend.location)
    return Information(
        manifest=listed_manifest(backend, module, release),
        digest=release.digest,
        size_bytes=release.size_bytes,
        registry=backend.location,
        path=None,
        yanked=release.yanked,
        signer=release.signer,
        problem=listing.index.hidden([requirement], release.version, listing.backend.location),
        files=release.installed_files,
    )


class HasFiles(Protocol):
    """Where files of releases are: the part of a backend that is needed to read one."""

    def open_file(self, file: ReleaseFile) -> BinaryIO:
        """As `Backend.open_file`."""


def listed_manifest(backend: HasFiles, module: ModuleName, release: Release) -> AnyManifest:
    """Return the manifest of a release that is listed.

    Raises:
        ModpmError: `wrong-digest`, `truncated`, or what `parse_manifest` raises.
    """
    data, where = listed_file(backend, module, release, MANIFEST_FILE)
    return parse_manifest(data, where)


def listed_file(
    backend: HasFiles, module: ModuleName, release: Release, file: str
) -> tuple[bytes, str]:
    """Return the bytes of a file of a release that is listed, and what it is called in errors.

    Raises:
        ModpmError: `wrong-digest` or `truncated`.
    """
    where = f"{file} of {module} {release.version}"
    with backend.open_file(ReleaseFile(module, release.version, file)) as source:
        return receive(source, release.all_files[file], where), where
