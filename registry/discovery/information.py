"""What there is to know of one class module or composition, without tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import AnyManifest, parse_manifest
from modpm.core.formats.distribution import read_distribution, verify_distribution
from modpm.core.formats.manifest import MANIFEST_FILE
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
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
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

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
    """

    manifest: AnyManifest
    digest: str
    size_bytes: int
    registry: str | None
    path: Path | None
    yanked: str | None = None
    signer: str | None = None
    problem: ModpmError | None = None


def info(
    name: str,
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
) -> Information:
    """Describe a module: the installed release, or else the one that would be installed.

    Of an installed release the registry is asked for nothing but whether it is yanked, and is
    not missed where it is away (W-8).

    Args:
        name: A module, or a requirement on one (`cifar10/cat==1.0.0`); or the folder of a
            distribution. An installed name wins over a folder, and `./cifar10/cat` is always
            the folder.
        project: A folder in the project.
        registry: Look in this registry, or these, and not at what is installed.
        offline: Open no registry.

    Raises:
        ModpmError: `invalid-requirement`; of a folder, `not-a-distribution`, with what it is, or
            what `verify_distribution` raises; `offline`, if it is not installed; what
            `newest_fitting` raises; `wrong-digest` or `invalid-manifest`, for what a registry
            gives.
    """
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) or name.endswith("/"):
        return _of_folder(folder)
    requirement = Requirement.parse(name)
    module = requirement.module
    if module is None and _is_known(folder):
        return _of_folder(folder)
    if module is None:
        raise ModpmError(
            f"`{name}` names a whole namespace",
            code="invalid-requirement",
            hint="name one module, such as `cifar10/cat`",
            exit_code=2,
        )
    place = Project.discover(project)
    with explained("read the manifest"):
        pin = None if registry else (place.installed() or Lockfile((), ())).find(module)
        if pin is not None and requirement.tag is None and requirement.admits(pin.version):
            yanked = known_yanks(place, [pin]) if offline else _yanked(place, pin)
            folder = place.module_path(pin)
            return Information(
                manifest=read_distribution(folder).manifest,
                digest=pin.digest,
                size_bytes=pin.size_bytes,
                registry=pin.registry.location(place.root),
                path=folder,
                yanked=yanked.get(module),
                signer=InstalledModule.of(pin, place).signer,
            )
        if not registry and _is_known(folder):
            return _of_folder(folder)
        if offline:
            raise ModpmError(
                f"`{requirement}` is not installed, and no registry may be asked",
                code="offline",
                where=str(place.root),
                hint="run it without `--offline`",
            )
        return _listed(requirement, _catalogue(place, registry).listing(module))


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
    )


_OTHERS = {
    "run.json": ("a run", "`modpm modularize RUN -o DIST` makes class modules of it"),
    "composition.json": ("a composed classifier", "`modpm evaluate CLF DATA` measures it"),
    "modules.json": ("a folder of class modules", "name one of the folders in it"),
    "modpm.toml": ("a project", "`modpm list --project PATH` shows what it has installed"),
}
"""Folders of modpm that are none of a release, by a file that only they have."""


def _yanked(place: Project, pin: Pin) -> Mapping[ModuleName, str]:
    answer = ask(place, [pin])._replace(changed=None)  # of one release alone
    keep(place, answer)
    return known_yanks(place, [pin], answer)


def _catalogue(place: Project, registry: Registries) -> RegistryCatalogue:
    sources = Sources.of(place, place.wishes(), registry)
    if sources.given:
        return RegistryCatalogue(sources.given, place.root)
    return sources.catalogue((place.lock() or Lockfile((), ())).pins)


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
