"""Verifying a project: what is installed is what the lockfile pins, byte by byte."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.distribution import (
    SIGNATURE_FILE,
    Distribution,
    read_distribution,
    verify_distribution,
    verify_files,
)
from modpm.core.formats.manifest import MANIFEST_FILE, Manifest
from modpm.core.system.durable import refuse_links
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.index import Release
from modpm.registry.installing.installation import carry_out
from modpm.registry.installing.installed import InstalledModule, is_signed
from modpm.registry.installing.module_folders import is_verified
from modpm.registry.installing.yanks import ask_and_keep, known_yanks
from modpm.registry.pins.planning import Plan
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.project import PROJECT_FILE, Project
from modpm.registry.projects.request import Request
from modpm.registry.projects.requirement_graph import RequirementGraph, lock_problems
from modpm.registry.projects.sources import Sources
from modpm.registry.storage.store import Store, verified_digest

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from modpm.core.formats.composition_manifest import AnyManifest, ComposedModule
    from modpm.core.formats.names import ModuleName
    from modpm.core.formats.release_files import FileRecord
    from modpm.registry.addresses import Registries
    from modpm.registry.installing.fetching import Progress

_OF_THE_REGISTRY = {"published", "yanked", "signature", "signer", "unknown_keys"}
"""What a registry says of a release itself, and not its manifest."""


def verify(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    repair: bool = False,
    offline: bool = False,
    on_problem: Callable[[str], None] = lambda _problem: None,
    progress: Progress | None = None,
) -> list[InstalledModule]:
    """Check installed modules against `modpm.lock` and their digests, and the store's files.

    A file that the store does not have is no fault: it is fetched when it is needed. Registries
    are asked which releases were yanked.

    Args:
        project: A folder in the project.
        registry: One or more registries that may help out with files of what is repaired.
        repair: First fetch and make anew what is damaged; what is installed stays the same
            releases. Where the record of it is damaged, `modpm.lock` is installed.
        offline: Open no registry.
        on_problem: Told of everything that was damaged and is repaired.
        progress: As for `install`.

    Returns:
        The modules, all of which are as they should be.

    Raises:
        ModpmError: `verification-failed`, naming everything that is wrong; `invalid-lock`;
            `no-project`; to repair, what `fetch` and `install` raise; of a registry that tells of
            yanks `rolled-back`, `release-changed`.
    """
    place = Project.discover(project)
    if repair:
        for problem in _repaired(place, registry, offline=offline, progress=progress):
            on_problem(problem)
    with explained("verify"):
        installed = place.installed() or Lockfile((), ())
        if place.files() == (None, None) and not installed.pins:
            raise _no_project(place)
        differences = list(_differences(place, installed))
        found = in_threads(lambda pin: damage(place, pin), installed.pins, "files cannot be read")
    problems = [*differences, *chain.from_iterable(found)]
    if not problems:  # of what is damaged, nothing is read

        def manifest_of(pin: Pin) -> AnyManifest:
            return read_distribution(place.module_path(pin)).manifest

        problems += member_problems(installed.pins, manifest_of)
        problems += origin_problems(installed, manifest_of)
    if problems:
        raise ModpmError(
            "what is installed is not what is locked",
            code="verification-failed",
            where=str(place.root),
            why="\n".join(problems),
            hint="run `modpm install`" if differences else "run `modpm verify --repair`",
        )
    check_signatures(place.lock() or installed, place.module_path)
    pins = installed.pins
    yanked = known_yanks(place, pins) if offline else ask_and_keep(place, pins)
    return [InstalledModule.of(pin, place, yanked.get(pin.module)) for pin in pins]


def _repaired(
    place: Project, registry: Registries, *, offline: bool, progress: Progress | None
) -> list[str]:
    """Read every byte that is installed, replace what is not as it was published, and return it.

    What is installed stays the same releases. Where the record of it is damaged, `modpm.lock` is
    installed.
    """
    from modpm.registry.installing.fetching import fetch  # noqa: PLC0415 -- it verifies by this

    lock = _lock_of(place)
    if lock is None:
        return []
    with explained("repair"):
        usable = Sources.of(place, place.wishes(), registry).helping
        found = in_threads(lambda pin: damage(place, pin), lock.pins, "files cannot be read")
        damaged = [pin for pin, problems in zip(lock.pins, found, strict=True) if problems]
        fetch(damaged, usable, place.root, offline=offline, progress=progress)

    def make_plan(place: Project, _request: Request) -> Plan:
        before = place.files()
        same = _lock_of(place) or lock
        return Plan(same, files_before=before, toml=before[0] or b"", addresses=usable)

    request = Request(offline=offline)
    outcome = carry_out(place, request, progress, make_plan, holds=is_verified)
    unrecorded = (f"{change.name}: was not recorded as installed" for change in outcome.changes)
    return [*chain.from_iterable(found), *unrecorded]


def _lock_of(place: Project) -> Lockfile | None:
    try:
        return place.installed() or place.lock()
    except ModpmError:
        return place.lock()


def _no_project(place: Project) -> ModpmError:
    return ModpmError(
        f"there is no `{PROJECT_FILE}` here, or in any folder above",
        code="no-project",
        where=str(place.root),
        hint="name a folder of the project by `--project`, or make one by `modpm init`",
    )


def verify_module(
    folder: Path, pin: Pin, *, digest_of: Callable[[Path], str] | None = None
) -> Distribution:
    """Return what a folder holds, if it is the release that a pin names, and says so itself.

    Raises:
        ModpmError: `wrong-module`, or what `verify_distribution` raises.
    """
    distribution = verify_distribution(folder, pin.digest, _signature(pin), digest_of=digest_of)
    _check_is_of(distribution.manifest, pin)
    return distribution


def verify_stored(pin: Pin, store: Store) -> None:
    """Check that the files of a pin, which the store has, are the release that it names."""
    files = {file: store.path(record.digest) for file, record in pin.files.items()}
    name, where = str(pin.module), f"{pin.module} {pin.version}, registry {pin.registry.url}"
    manifest, _ = verify_files(
        files, pin.digest, _signature(pin), digest_of=verified_digest, name=name, where=where
    )
    _check_is_of(manifest, pin)


def _signature(pin: Pin) -> Mapping[str, FileRecord]:
    return {name: record for name, record in pin.files.items() if name == SIGNATURE_FILE}


def check_signatures(
    lock: Lockfile, folder_of: Callable[[Pin], Path], *, remembers: bool = False
) -> Mapping[str, str]:
    """Check the signatures of all pins, whoever is trusted now (K-12 to K-15); return the signers.

    With `remembers`, who signs what is used for the first time is kept for the user.
    """
    if not is_signed(lock):
        return {}
    from modpm.registry.installing.trust import checked_signers  # noqa: PLC0415 -- only signatures need it
    from modpm.registry.signing.trusted_keys import remember_signers  # noqa: PLC0415 -- as above

    signers = checked_signers(lock.pins, folder_of, lock.signers)
    if remembers:
        remember_signers(signers)
    return signers


def check_listed(release: Release, pin: Pin, manifest: AnyManifest) -> None:
    """Check that a registry lists of a release what its manifest, which was verified, says (I-7).

    Raises:
        ModpmError: `index-differs`, naming every field.
    """
    said = Release.of(manifest, pin.files[MANIFEST_FILE], release.published)
    fields = (name for name in said.__struct_fields__ if name not in _OF_THE_REGISTRY)
    differing = [f for f in fields if getattr(release, f, None) != getattr(said, f)]
    if differing:
        raise _index_differs(pin, [f"it lists another `{field}`" for field in differing])


def _check_is_of(manifest: AnyManifest, pin: Pin) -> None:
    """Check that a manifest says of its release what a pin does, which has it from an index."""
    found = f"{manifest.name} {manifest.version}"
    if found != f"{pin.module} {pin.version}":
        raise ModpmError(
            f"the release of `{pin.module}` {pin.version} is that of another module",
            code="wrong-module",
            where=f"registry {pin.registry.url}",
            why=f"its manifest says {found}",
            hint="do not use it; ask whoever keeps the registry",
        )
    besides = {MANIFEST_FILE, SIGNATURE_FILE, *manifest.all_pictures}
    files = {name: record for name, record in pin.files.items() if name not in besides}
    if pin.requires != tuple(manifest.requires):
        said, required = ", ".join(manifest.requires), ", ".join(pin.requires)
        why = f"it requires {said or 'nothing'}; listed or locked is {required or 'nothing'}"
        raise _index_differs(pin, [why])
    if files != manifest.files:
        raise _index_differs(pin, ["other files are listed or locked than it has"])


def _index_differs(pin: Pin, why: Sequence[str]) -> ModpmError:
    return ModpmError(
        f"`{pin.module}` {pin.version} is not what its registry or modpm.lock says of it",
        code="index-differs",
        where=f"registry {pin.registry.url}",
        why="\n".join(why),
        hint="what the owner published is unchanged, and what is said of it is not: do not use it "
        "before whoever keeps the registry told you why",
    )


def damage(place: Project, pin: Pin) -> list[str]:
    """Return what is wrong with the bytes of a module, in the project and in the store."""
    problems, store = [], Store.of_user()
    folder = place.module_path(pin)
    try:
        refuse_links(folder / MANIFEST_FILE, place.modules_path)
        verify_module(folder, pin)
    except ModpmError as error:
        file = Path(error.where or "")
        name = f"{file.name}: " if file.parent == folder else ""
        problems.append(f"{pin.module} {pin.version}: {name}{error.why or error.what}")
    for name, record in pin.files.items():
        if store.path(record.digest).exists() and not store.has(record):
            problems.append(f"{pin.module} {pin.version}: {name} is damaged in the store")
    return problems


def _differences(place: Project, installed: Lockfile) -> Iterator[str]:
    """Give what `modpm.toml`, `modpm.lock` and the record of what is installed do not agree in."""
    lock = place.lock() or Lockfile((), ())
    wishes = place.wishes()
    yield from lock_problems(lock, wishes, Sources.of(place, wishes))
    locked = {pin.module: pin for pin in lock.pins}
    present = {pin.module: pin for pin in installed.pins}
    for module in sorted(locked.keys() | present.keys()):
        if module not in present:
            yield f"{module} {locked[module].version}: is locked, and not installed"
        elif module not in locked:
            yield f"{module} {present[module].version}: is installed, and not locked"
        elif present[module].digest != locked[module].digest:
            version = present[module].version
            yield f"{module} {locked[module].version}: is locked; {version} is installed"
        elif present[module] != locked[module]:
            yield f"{module} {locked[module].version}: is locked in other words than is installed"


def check_members(lock: Lockfile, manifest_of: Callable[[Pin], AnyManifest]) -> None:
    """Check that every composition of a project has its class modules there.

    And that what is asked for together is of one origin, where the project wants that.

    Raises:
        ModpmError: `broken-composition`, naming every module that is not what it must be;
            `no-common-origin`.
    """
    _refuse(
        origin_problems(lock, manifest_of),
        "what is locked is not of one origin",
        "no-common-origin",
        "run `modpm lock`; if the registry lists them as of one origin, do not trust it",
    )
    _refuse(
        member_problems(lock.pins, manifest_of),
        "the class modules of a composition are not those that it names",
        "broken-composition",
        "ask who published it; a release never changes, and neither does what it names",
    )


def _refuse(problems: Iterable[str], what: str, code: str, hint: str) -> None:
    if lines := list(problems):
        raise ModpmError(what, code=code, why="\n".join(lines), hint=hint)


def origin_problems(lock: Lockfile, manifest_of: Callable[[Pin], AnyManifest]) -> Iterator[str]:
    """Give the origins of what is asked for, where they should be one, and are not."""
    asked = RequirementGraph(lock).requires[None] if lock.same_origin else ()
    origins: dict[ModuleName, str] = {}
    for pin in (lock.find(edge.module) for edge in asked):
        manifest = None if pin is None else manifest_of(pin)
        if pin is not None and isinstance(manifest, Manifest):
            origins[pin.module] = manifest.origin.digest
    if len(set(origins.values())) > 1:
        yield from (f"`{module}` was cut from {origin}" for module, origin in origins.items())


def member_problems(
    pins: Sequence[Pin], manifest_of: Callable[[Pin], AnyManifest]
) -> Iterator[str]:
    """Give which class modules of compositions are not what they must be, in words."""
    by_name = {str(pin.module): pin for pin in pins}
    for pin in pins:
        if not pin.is_composition:
            continue
        manifest = manifest_of(pin)
        modules = manifest.composition.modules if isinstance(manifest, CompositionManifest) else []
        for one in modules:
            why = _obstacle(one, by_name.get(one.name))
            if why is not None:
                yield f"{pin.module} {pin.version}: {one.name} {one.version} {why}"


def _obstacle(named: ComposedModule, found: Pin | None) -> str | None:
    if found is None:
        return "is not there"
    if found.is_composition:
        return "is a composition, and compositions are made of class modules"
    if found.version != named.version:
        return f"is wanted, and {found.version} is there"
    if found.digest != named.digest:
        return f"has digest {found.digest}, and the composition names {named.digest}"
    return None
