"""Mirroring: what a lockfile needs is published to another registry, with the same digests."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats.composition_manifest import parse_manifest
from modpm.core.system.durable import exclusively, make_folders
from modpm.core.system.home import home
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.addresses import publish_target
from modpm.registry.backends.protocol import Published
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.backends.refusals import version_taken
from modpm.registry.index import release_in
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.module_folders import make_folder
from modpm.registry.pins.pinning import yanked_reasons
from modpm.registry.projects.project import Project
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index
    from modpm.registry.installing.fetching import Progress
    from modpm.registry.projects.lockfile import Pin


def mirror(
    to: str | os.PathLike[str],
    lockfile: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] = ".",
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[Published]:
    """Copy what a lockfile needs into another registry.

    A release that is there already is left as it is, so that a mirroring that was interrupted is
    completed by doing it again. A release that its registry has yanked is yanked in the copy.

    Args:
        to: The registry to copy to.
        lockfile: The lockfile; by default that of the project.
        project: A folder in the project.
        dry_run: Copy nothing.
        progress: As for `fetch`.

    Returns:
        One for each pin, sorted by name; `is_new` is false where the release was there already.

    Raises:
        ModpmError: `lock-missing` or `invalid-lock`; `version-taken`, if the other registry has
            other bytes under a version; what `fetch` and `Backend.publish` raise.
    """
    path = Project.discover(project).lock_path if lockfile is None else Path(lockfile).absolute()
    place = Project(path.parent)
    with explained("mirror"):
        pins, target = place.locked(path).pins, publish_target(to)
        are_there = in_threads(
            lambda pin: _is_listed(target, pin), pins, "releases cannot be copied"
        )
        missing = [pin for pin, is_there in zip(pins, are_there, strict=True) if not is_there]
        if missing and not dry_run:
            with Store.of_user().in_use():
                registries = place.wishes().registries
                verified = fetch(missing, registries, place.root, progress=progress)
                whole = [_with_pictures(pin) for pin in missing]
                verified |= fetch(whole, registries, place.root)
                with _distributions(whole, verified) as distributions:
                    target.publish(distributions)
            _yank(target, missing, place.root)
    where = target.location
    return [
        Published(pin.module, pin.version, pin.digest, pin.size_bytes, where, is_new=pin in missing)
        for pin in pins
    ]


def _with_pictures(pin: Pin) -> Pin:
    """Return a pin of all files of a release that the store has, pictures too."""
    path = Store.of_user().path(pin.digest)
    pictures = parse_manifest(path.read_bytes(), str(path)).all_pictures
    return msgspec.structs.replace(pin, files={**pin.files, **pictures}) if pictures else pin


def _is_listed(target: Backend, pin: Pin) -> bool:
    """Tell whether a registry lists a release; other bytes are refused before any copying."""
    listed = release_in(listed_index(target, pin.module), pin.version)
    if listed is not None and listed.digest != pin.digest:
        raise version_taken(
            pin.module,
            pin.version,
            f"the published release has digest {listed.digest}, the lockfile {pin.digest}",
            target.location,
            hint="mirror to another registry, or to an empty one",
        )
    return listed is not None


@contextmanager
def _distributions(pins: Sequence[Pin], verified: frozenset[Pin]) -> Iterator[list[Distribution]]:
    """Give the releases of pins as folders, made of the files of the store."""
    folder = home() / "mirroring"
    make_folders(folder.parent)
    with exclusively(folder.with_suffix(".lock"), folder):
        distributions: list[Distribution] = []
        for pin in pins:
            staged = folder / pin.digest.replace(":", "-")
            distributions.append(make_folder(staged, pin, is_checked=pin in verified))
        yield distributions


def _yank(target: Backend, pins: Sequence[Pin], base: Path) -> None:
    reasons = yanked_reasons(pins, base)
    for pin in pins:
        if pin.module in reasons:
            target.change(pin.module, partial(_yanked, pin=pin, reason=reasons[pin.module]))


def _yanked(index: Index, pin: Pin, reason: str) -> Index:
    copied = index.find(pin.version)
    is_copy = copied is not None and copied.digest == pin.digest
    return index.with_yanked(copied, reason) if copied is not None and is_copy else index
