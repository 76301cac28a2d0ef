"""Installing: what is asked becomes pins, and the pins become folders in `.modpm/`.

A project is changed under its lock, in an order in which a crash at any moment leaves what was
installed before, or what was asked for; running the same command again completes it:

1. the store gets the files that are missing, each verified;
2. the folders of new modules are made, each verified whole, beside those that are in use;
3. `modpm.toml` and `modpm.lock` are replaced;
4. `.modpm/installed.lock` is replaced: from here on the new modules are the installed ones;
5. the folders of modules that are no longer installed are removed.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.release_files import VARIANTS, variant_name
from modpm.core.formats.requirements import Requirement
from modpm.core.system.durable import (
    folders_between,
    is_real_folder,
    remove_folder,
    replace_files,
    sync_folders,
)
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.installing.installed import InstalledModule, is_signed
from modpm.registry.installing.module_folders import (
    is_intact,
    is_verified,
    make_folder,
    other_folders,
    put,
    stage,
)
from modpm.registry.installing.yanks import (
    Answer,
    ask,
    is_due,
    keep,
    known_yanks,
    newest_change,
)
from modpm.registry.pins.planning import Plan, plan, plan_of_lock
from modpm.registry.projects.editing import Edit, Replaced
from modpm.registry.projects.lockfile import Change, changes_between
from modpm.registry.projects.project import Project, read
from modpm.registry.projects.request import Bounds, Request, parse_selection
from modpm.registry.storage import unsettled
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.composition_manifest import AnyManifest
    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Registries
    from modpm.registry.installing.fetching import Progress
    from modpm.registry.projects.lockfile import Lockfile, Pin


class Installation(msgspec.Struct, frozen=True):
    """A project after its modules were installed, or as it would be.

    Attributes:
        modules: All installed modules, sorted by name.
        changes: What is not as it was, sorted by name.
        mended: Modules whose files were damaged or absent, and were made anew.
        yanked: Module to the reason why its release was yanked, as far as that is known.
        problems: Why modules of a namespace, and newer releases, were left out: nobody can use
            what is listed of them; and why a registry is not believed that says what is yanked.
        replaced: What `modpm.toml` asks for no longer, and what it asks for instead.
        unmeasured: Classifiers whose class modules are others now, so that `modpm.lock` says no
            longer how good they are.
        plan: What was chosen.
    """

    project: Path
    modules: tuple[InstalledModule, ...]
    changes: tuple[Change, ...]
    mended: tuple[ModuleName, ...] = ()
    yanked: Mapping[ModuleName, str] = msgspec.field(default_factory=dict)
    problems: Sequence[ModpmError] = ()
    replaced: Sequence[Replaced] = ()
    unmeasured: Sequence[str] = ()
    plan: Plan | None = None


def install(
    requirements: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool | None = None,
    locked: bool = False,
    frozen: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    save: bool = True,
    move_namespace: str | Sequence[str] = (),
    exclude_newer: str | None = None,
    resolve_timeout: float | None = None,
    variant: str | None = None,
    progress: Progress | None = None,
) -> Installation:
    """Install class modules into a project, besides those that are installed already.

    What was asked is added to `modpm.toml`; what it became is pinned in `modpm.lock`. Pins that
    still satisfy everything stay as they are, and while the lockfile has everything, no registry
    is asked. With no requirements, the project gets what its `modpm.toml` and `modpm.lock` say.

    Args:
        requirements: Such as `cifar10/cat`, `cifar10/cat>=1.2,<2`, `cifar10/cat@stable`,
            `cifar10/*`.
        project: A folder in the project, or one that becomes a project.
        registry: One or more registries to look in first for what is named; they are added to
            `modpm.toml`.
        same_origin: Whether modules that are asked for together must come from one origin; it is
            kept in `modpm.toml`. None: as `modpm.toml` says.
        locked: Fail if `modpm.lock` would have to change.
        frozen: Install `modpm.lock` as it is, whatever `modpm.toml` says; nothing else may be
            asked then.
        offline: Open no registry.
        dry_run: Change nothing.
        save: Write `modpm.toml` and `modpm.lock`; without, only `.modpm/` changes, until the
            next command that changes it.
        move_namespace: Namespaces that are to belong to the first of `registry` from now on, if
            they belong to another (W-5).
        exclude_newer: A date (RFC 3339, to its end in UTC) or time: what was published later is
            as if absent, by the word of its registry; pins stay where they may, however new.
        resolve_timeout: How many seconds choosing releases may take, but for what registries are
            waited for; None for what `MODPM_RESOLVE_TIMEOUT` says, or else 20.
        variant: `int8` for the variants of the modules that are asked for, in their place.
        progress: Told how many bytes have arrived.

    Raises:
        ModpmError: `unknown-variant`; what `plan`, `Bounds.of` and `fetch` raise, and what
            `verify_distribution` raises for what a registry gives; `busy`, `disk-full`,
            `permission-denied`. The project is as it was then.
    """
    texts = [requirements] if isinstance(requirements, str) else requirements
    asked = tuple(_of_variant(Requirement.parse(text), variant) for text in texts)
    if frozen and (asked or locked or not save or same_origin is not None or move_namespace):
        raise _takes_nothing()
    request = Request(
        Edit(add=asked, same_origin=same_origin),
        registry,
        moved_namespaces=move_namespace,
        bounds=Bounds.of(exclude_newer, resolve_timeout),
        locked=locked,
        frozen=frozen,
        offline=offline,
        dry_run=dry_run,
        save=save,
    )
    make_plan = plan_of_lock if frozen else plan
    return carry_out(Project.discover(project), request, progress, make_plan)


def _of_variant(requirement: Requirement, variant: str | None) -> Requirement:
    """Return what asks for a variant of a module in the place of the module itself.

    Raises:
        ModpmError: `unknown-variant`, also where a whole namespace is asked for.
    """
    if variant is None:
        return requirement
    if variant not in VARIANTS:
        raise ModpmError(
            f"no variant is called `{variant}`",
            code="unknown-variant",
            hint=f"the variants are {', '.join(VARIANTS)}",
            exit_code=2,
        )
    if requirement.name is None:
        raise ModpmError(
            f"`{requirement}` has no variant",
            code="unknown-variant",
            why="a namespace may have modules without one",
            hint="name the modules, such as `cifar10/cat`",
            exit_code=2,
        )
    return msgspec.structs.replace(requirement, name=variant_name(requirement.name, variant))


def sync(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    frozen: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Installation:
    """Install what `modpm.lock` pins and nothing else; nothing is resolved (W-9).

    Args:
        project: A folder in the project.
        registry: One or more registries that may help out with files.
        frozen: Do not look at what `modpm.toml` asks for.
        offline: Open no registry.
        dry_run: Change nothing.
        progress: As for `install`.

    Raises:
        ModpmError: `lock-missing`; `lock-out-of-date`, unless the lockfile is frozen; what
            `fetch` raises, and what `verify_distribution` raises for what a registry gives.
    """
    place = Project.discover(project)
    request = Request(registries=registry, frozen=frozen, offline=offline, dry_run=dry_run)
    return carry_out(place, request, progress, plan_of_lock)


def update(
    names: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool | None = None,
    offline: bool = False,
    dry_run: bool = False,
    move_namespace: str | Sequence[str] = (),
    exclude_newer: str | None = None,
    resolve_timeout: float | None = None,
    progress: Progress | None = None,
) -> Installation:
    """Move modules to the newest releases that `modpm.toml` allows, and install them (W-6).

    Args:
        names: Modules, or namespaces (`cifar10/*`), to move; all others stay where they may.
            None to move everything.
        project: A folder in the project.
        registry: As for `install`; modules that are named move to it.
        same_origin: As for `install`.
        offline: Open no registry: there is nothing to move to then.
        dry_run: Change nothing.
        move_namespace: As for `install`.
        exclude_newer: As for `install`.
        resolve_timeout: As for `install`.
        progress: As for `install`.

    Raises:
        ModpmError: `not-locked`, or as `install`.
    """
    moving = parse_selection(names)
    request = Request(
        Edit(same_origin=same_origin),
        registry,
        moving,
        moves_all=not moving,
        resolves=True,
        moved_namespaces=move_namespace,
        bounds=Bounds.of(exclude_newer, resolve_timeout),
        offline=offline,
        dry_run=dry_run,
    )
    return carry_out(Project.discover(project), request, progress)


def remove(
    names: Sequence[str],
    project: str | os.PathLike[str] = ".",
    *,
    offline: bool = False,
    dry_run: bool = False,
    resolve_timeout: float | None = None,
) -> Installation:
    """Take requirements out of `modpm.toml`, and install what is left.

    No registry is asked while `modpm.lock` is in step with `modpm.toml`.

    Args:
        names: Modules, or namespaces (`cifar10/*`), as `modpm.toml` asks for them.
        project: A folder in the project.
        offline: Open no registry.
        dry_run: Change nothing.
        resolve_timeout: As for `install`.

    Raises:
        ModpmError: `not-asked`, or as `install`.
    """
    removed = parse_selection(names)
    edit = Edit(remove=removed)
    bounds = Bounds.of(resolve_timeout=resolve_timeout)
    request = Request(edit, bounds=bounds, offline=offline, dry_run=dry_run)
    return carry_out(Project.discover(project), request)


def _takes_nothing() -> ModpmError:
    return ModpmError(
        "a frozen lockfile is installed as it is",
        code="usage",
        why="`--frozen` takes no requirements, and no `--locked`, `--no-save`, `--same-origin` or "
        "`--move-namespace`",
        hint="leave one of them out",
        exit_code=2,
    )


def carry_out(
    place: Project,
    request: Request,
    progress: Progress | None = None,
    make_plan: Callable[[Project, Request], Plan] = plan,
    *,
    holds: Callable[[Path, Pin], bool] = is_intact,
) -> Installation:
    """Make a project what a plan says; it is planned again if somebody else changes it meanwhile.

    `holds` tells whether a folder holds what a pin says.
    """
    with explained("install"):
        Store.of_user().settle()
        while True:
            chosen = make_plan(place, request)
            before = place.installed_or_nothing()
            # What is said of a release in other words than before is read again, whole.
            known = set(before.pins)
            missing = [
                pin
                for pin in chosen.lock.pins
                if not _is_there(place, pin, holds if pin in known else is_verified)
            ]
            asked = _asked(place, chosen, missing, request)
            if request.dry_run or not (missing or _changes_anything(place, chosen)):
                if not request.dry_run:
                    keep(place, asked[0])
                return _outcome(place, chosen, before, missing, asked)
            from modpm.registry.installing.fetching import fetch  # noqa: PLC0415 -- only new modules need it

            with Store.of_user().in_use():
                verified = fetch(
                    missing,
                    chosen.addresses,
                    place.root,
                    offline=request.offline,
                    progress=progress,
                )
                with place.exclusively():
                    # Whoever changed the project meanwhile must not be overruled: plan again.
                    if _still_holds(place, chosen, missing):
                        before = place.installed_or_nothing()
                        _switch(place, chosen, missing, verified)
                        keep(place, asked[0])
                        return _outcome(place, chosen, before, missing, asked)


def _is_there(place: Project, pin: Pin, holds: Callable[[Path, Pin], bool]) -> bool:
    folder = place.module_path(pin)
    return is_real_folder(folder, place.modules_path) and holds(folder, pin)


def _still_holds(place: Project, chosen: Plan, missing: Sequence[Pin]) -> bool:
    """Tell whether a plan was made for the project as it is."""
    anew = {pin.digest for pin in missing}
    rest = [pin for pin in chosen.lock.pins if pin.digest not in anew]
    return place.files() == chosen.files_before and all(
        _is_there(place, pin, is_intact) for pin in rest
    )


def _asked(
    place: Project, chosen: Plan, missing: Sequence[Pin], request: Request
) -> tuple[Answer, Sequence[ModpmError]]:
    """Return what registries say of yanks, and why one of them is not believed.

    They are asked only if files come from them, or news are due.
    """
    pins = chosen.lock.pins
    if chosen.listed is not None:
        told = {pin.digest: chosen.yanked.get(pin.module) for pin in pins}
        return Answer(told, newest_change(place, pins)), ()
    comes = any(_comes(pin) for pin in missing)
    if request.offline or not (comes or is_due(place, pins)):
        return Answer({}), ()
    try:
        return ask(place, pins), ()
    except ModpmError as error:
        if comes:
            raise
        return Answer({}), (error,)


def _comes(pin: Pin) -> bool:
    """Tell whether files of a release have to be fetched."""
    store = Store.of_user()
    return not all(store.path(record.digest).exists() for record in pin.files.values())


def _changes_anything(place: Project, chosen: Plan) -> bool:
    """Tell whether anything but modules is to change; all signatures are checked for that."""
    lock = _signed(place, chosen.lock, {})
    return bool(
        _new_contents(place, chosen, lock)
        or other_folders(place, chosen.lock.pins)
        or place.staging.exists()  # a crash left it
    )


def _new_contents(place: Project, chosen: Plan, lock: Lockfile) -> Mapping[Path, bytes]:
    """Return the files to be replaced, in this order."""
    saved = {place.toml_path: chosen.toml, place.lock_path: lock.to_bytes()}
    contents = {
        place.ignore_path: b"*\n",
        **(saved if chosen.saves else {}),
        place.installed_path: lock.to_bytes(),
    }
    return {path: content for path, content in contents.items() if read(path) != content}


def _switch(
    place: Project,
    chosen: Plan,
    missing: Sequence[Pin],
    verified: frozenset[Pin],
) -> None:
    from modpm.registry.installing.fetching import SMALL_BYTES  # noqa: PLC0415 -- only new modules need it

    made = in_threads(
        lambda pin: stage(place, pin, is_checked=pin in verified),
        missing,
        "modules cannot be installed",
        is_brief=lambda pin: pin in verified or pin.size_bytes <= SMALL_BYTES,
    )
    distributions = {pin.digest: one for pin, one in zip(missing, made, strict=True)}
    _check_agreement(place, chosen, distributions)
    staged = {digest: one.folder for digest, one in distributions.items()}
    lock = _signed(place, chosen.lock, staged)
    for pin in missing:
        put(staged[pin.digest], place.module_path(pin), place.modules_path)
    if unsettled.boot() is None:  # nobody would look at them after a power cut
        folders = [place.module_path(pin) for pin in missing]
        above = [folders_between(folder, place.modules_path) for folder in folders]
        sync_folders([*folders, *chain(*above), place.modules_path])
    replace_files(_new_contents(place, chosen, lock), place.staging)
    for folder in other_folders(place, chosen.lock.pins):
        remove_folder(folder)


def make_apart(
    place: Project,
    chosen: Plan,
    folder: Path,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> Mapping[str, Path]:
    """Make the folders of what a plan says elsewhere; only the store changes.

    Args:
        place: The project, which stays as it is.
        chosen: What would be installed.
        folder: Where to; it is empty.
        offline: Open no registry.
        progress: As for `install`.

    Returns:
        For each release its folder, by its digest; all are checked as to be installed.

    Raises:
        ModpmError: As `install`.
    """
    from modpm.registry.installing.fetching import fetch  # noqa: PLC0415 -- as above
    from modpm.registry.installing.verification import check_signatures  # noqa: PLC0415 -- the same

    pins = chosen.lock.pins
    with explained("fetch"), Store.of_user().in_use():
        verified = fetch(pins, chosen.addresses, place.root, offline=offline, progress=progress)
        made = {
            pin.digest: make_folder(folder / str(i), pin, is_checked=pin in verified)
            for i, pin in enumerate(pins)
        }
        _check_agreement(place, chosen, made)
        check_signatures(chosen.lock, lambda pin: made[pin.digest].folder)
    return {digest: one.folder for digest, one in made.items()}


def _check_agreement(
    place: Project, chosen: Plan, distributions: Mapping[str, Distribution]
) -> None:
    """Check what pins were chosen by against what releases say of themselves (I-7, W-14)."""
    from modpm.core.formats.distribution import read_distribution  # noqa: PLC0415 -- as above
    from modpm.registry.installing.verification import check_listed, check_members  # noqa: PLC0415 -- the same

    def manifest_of(pin: Pin) -> AnyManifest:
        there = distributions.get(pin.digest) or read_distribution(place.module_path(pin))
        return there.manifest

    check_members(chosen.lock, manifest_of)
    listed = chosen.listed or {}
    for pin in chosen.lock.pins:
        if pin.module in listed:
            check_listed(listed[pin.module], pin, manifest_of(pin))


def _signed(place: Project, lock: Lockfile, staged: Mapping[str, Path]) -> Lockfile:
    """Return a lockfile with its signers, after all signatures were checked (K-12 to K-15)."""
    if not is_signed(lock):
        return lock
    from modpm.registry.installing.verification import check_signatures  # noqa: PLC0415 -- only signatures need it

    def folder_of(pin: Pin) -> Path:
        return staged.get(pin.digest, place.module_path(pin))

    return lock.signed_by(check_signatures(lock, folder_of, remembers=True))


def _outcome(
    place: Project,
    chosen: Plan,
    before: Lockfile,
    missing: Sequence[Pin],
    asked: tuple[Answer, Sequence[ModpmError]],
) -> Installation:
    answer, problems = asked
    digests = {pin.digest for pin in before.pins}
    yanked = known_yanks(place, chosen.lock.pins, answer)
    return Installation(
        project=place.root,
        modules=tuple(
            InstalledModule.of(pin, place, yanked.get(pin.module)) for pin in chosen.lock.pins
        ),
        changes=changes_between(before, chosen.lock, chosen.lowered),
        mended=tuple(pin.module for pin in missing if pin.digest in digests),
        yanked=yanked,
        problems=(*chosen.problems, *problems),
        replaced=chosen.replaced,
        unmeasured=chosen.unmeasured,
        plan=chosen,
    )
