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

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.core.formats.whole_files import sync_folder
from modpm.registry.durable import move, remove_folder, replace_files
from modpm.registry.fetching import fetch
from modpm.registry.installed import InstalledModule
from modpm.registry.planning import Plan, plan
from modpm.registry.project import Project, read
from modpm.registry.store import Store, verified_digest
from modpm.registry.system_errors import explained
from modpm.registry.verification import verify_module

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.lockfile import Lockfile, Pin


@dataclass(frozen=True)
class Change:
    """What an installation did to one module.

    Attributes:
        name: The module.
        before: The version that was installed; None if there was none.
        after: The version that is installed; None if there is none.
    """

    name: ModuleName
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Installation:
    """A project after `install`.

    Attributes:
        project: Its root.
        modules: All installed modules, sorted by name.
        changes: What is not as it was, sorted by name.
    """

    project: Path
    modules: tuple[InstalledModule, ...]
    changes: tuple[Change, ...]


def install(
    requirements: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
    registry: str | os.PathLike[str] | None = None,
) -> Installation:
    """Install class modules into a project, besides those that are installed already.

    What was asked is added to `modpm.toml`; what it became is pinned in `modpm.lock`. Pins that
    still satisfy everything stay as they are. With no requirements, the project gets what its
    `modpm.toml` and `modpm.lock` say.

    Args:
        requirements: Such as `cifar10/cat`, `cifar10/cat>=1.2,<2`, `cifar10/cat@stable`,
            `cifar10/*`.
        project: A folder in the project, or one that becomes a project.
        registry: A registry to look in first; it is added to `modpm.toml`.

    Raises:
        ModpmError: What `resolve` raises; `truncated`, `wrong-digest` and what
            `verify_distribution` raises, for what a registry gives; `release-changed`;
            `registry-missing`; `invalid-project` and `invalid-lock`; `busy`, `disk-full`,
            `permission-denied`. The project is as it was then.
    """
    texts = [requirements] if isinstance(requirements, str) else requirements
    asked = [Requirement.parse(text) for text in texts]
    place = Project.discover(project)
    with explained("install"):
        while True:
            chosen = plan(place, asked, registry)
            missing = [
                pin for pin in chosen.lock.pins if not _is_intact(place.module_path(pin), pin)
            ]
            fetch(missing, chosen.addresses, place.root)
            with place.exclusively():
                # Whoever changed the project meanwhile must not be overruled: plan again.
                if place.files() == chosen.files_before:
                    return _carry_out(place, chosen, missing)


def _is_intact(folder: Path, pin: Pin) -> bool:
    try:
        verify_module(folder, pin)
    except (ModpmError, OSError):
        return False
    return True


def _carry_out(place: Project, chosen: Plan, missing: Sequence[Pin]) -> Installation:
    before = place.installed_or_nothing()
    for pin in missing:
        _make_folder(place, pin)
    lock = chosen.lock.to_bytes()
    contents = {
        place.ignore_path: b"*\n",
        place.toml_path: chosen.toml,
        place.lock_path: lock,
        place.installed_path: lock,
    }
    changed = {path: content for path, content in contents.items() if read(path) != content}
    replace_files(changed, place.staging)
    _remove_others(place, chosen.lock.pins)
    modules = tuple(InstalledModule.of(pin, place) for pin in chosen.lock.pins)
    return Installation(place.root, modules, _changes(before, chosen.lock))


def _make_folder(place: Project, pin: Pin) -> None:
    store = Store.of_user()
    staged = place.staging / pin.digest.replace(":", "-")
    staged.mkdir()
    for name, record in pin.files.items():
        store.give(record, staged / name)
    verify_module(staged, pin, digest_of=verified_digest)
    sync_folder(staged)
    target = place.module_path(pin)
    remove_folder(target)  # there is one only if it was damaged
    move(staged, target)


def _remove_others(place: Project, pins: Iterable[Pin]) -> None:
    used = {place.module_path(pin) for pin in pins}
    for folder in place.modules_path.glob("*/*/*"):
        if folder not in used:
            remove_folder(folder)
    for parent in (*place.modules_path.glob("*/*"), *place.modules_path.glob("*")):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


def _changes(before: Lockfile, after: Lockfile) -> tuple[Change, ...]:
    old: Mapping[ModuleName, str] = {pin.module: pin.version for pin in before.pins}
    new: Mapping[ModuleName, str] = {pin.module: pin.version for pin in after.pins}
    names = sorted(old.keys() | new.keys())
    return tuple(Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))
