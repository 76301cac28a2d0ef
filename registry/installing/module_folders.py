"""The folders of installed modules: made whole from the store, removed when nobody needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.installing.sealing import is_sealed, seal
from modpm.registry.storage.store import Store, verified_digest
from modpm.registry.system.durable import (
    entries_below,
    is_real_folder,
    place,
    remove_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Project


def is_intact(folder: Path, pin: Pin) -> bool:
    """Tell whether a folder is what a pin says; its bytes are read only if somebody wrote to it."""
    if is_sealed(folder, pin):
        return True
    if not is_verified(folder, pin):
        return False
    seal(folder)
    return True


def is_verified(folder: Path, pin: Pin) -> bool:
    """Tell whether a folder is what a pin says; every byte of it is read."""
    from modpm.registry.installing.verification import verify_module  # noqa: PLC0415 -- seldom needed

    try:
        verify_module(folder, pin)
    except (ModpmError, OSError):
        return False
    return True


def stage(place: Project, pin: Pin, *, is_checked: bool = False) -> Path:
    """Make the folder of a module where it can be checked, and return it.

    Args:
        place: The project.
        pin: The module.
        is_checked: As for `make_folder`.

    Raises:
        ModpmError: As `verify_module`.
    """
    staged = place.staging / pin.digest.replace(":", "-")
    make_folder(staged, pin, is_checked=is_checked)
    seal(staged)
    return staged


def make_folder(folder: Path, pin: Pin, *, is_checked: bool = False) -> None:
    """Make a folder of the files of a pin, which the store has, and check that it is the release.

    Args:
        folder: The folder; it does not exist yet.
        pin: The release.
        is_checked: Files of these digests have been found to be it: those that are so are enough.

    Raises:
        ModpmError: As `verify_module`.
    """
    store = Store.of_user()
    folder.mkdir()
    for name, record in pin.files.items():
        store.give(record, folder / name)
    if not (is_checked and _has_files(folder, pin)):
        from modpm.registry.installing.verification import verify_module  # noqa: PLC0415 -- the same

        verify_module(folder, pin, digest_of=verified_digest)


def _has_files(folder: Path, pin: Pin) -> bool:
    return all(
        verified_digest(folder / name) == record.digest for name, record in pin.files.items()
    )


def put(staged: Path, target: Path, root: Path) -> None:
    """Move a staged folder to its place, over a damaged one if there is any.

    Whether the disk has it is up to the caller: one that is missing something is made anew.

    Args:
        staged: The folder.
        target: Its place.
        root: The folder of all modules: what is a link below it, and no folder, makes way.
    """
    above = [part for part in target.parents if part != root and part.is_relative_to(root)]
    for folder in reversed(above):
        if not is_real_folder(folder, root):
            remove_folder(folder)
    remove_folder(target)
    place(staged, target)


def other_folders(place: Project, pins: Iterable[Pin]) -> list[Path]:
    """Return whatever no pinned module needs there, but not what is inside it."""
    used = {place.module_path(pin) for pin in pins}
    above = {parent for folder in used for parent in (folder.parent, folder.parent.parent)}
    return [
        path
        for path in entries_below(place.modules_path, 3)
        if (path not in used if path not in above else not is_real_folder(path, place.modules_path))
        and path.parent in {place.modules_path, *above}
    ]
