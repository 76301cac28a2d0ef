"""What is known of yanks between one contact with registries and the next (W-8).

Nothing that is installed waits for a registry, and who has a release is told all the same when it
was yanked: by what was learned last, which is kept for the user, and not in the project, which
is the same wherever its lock is installed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.system.home import home
from modpm.core.system.whole_files import write_file
from modpm.registry.backends import layout
from modpm.registry.backends.opening import is_remote
from modpm.registry.projects.project import read
from modpm.registry.projects.toml_file import TomlFile, toml_string

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Project

_OLD = timedelta(days=1)
"""After so long registries on other machines are asked again."""

_COMMENT = "# What modpm has learned of yanks; it may be deleted."


class Answer(NamedTuple):
    """What registries say of releases.

    Attributes:
        told: Digests of releases to why they were yanked; None for those that were not.
        changed: As `newest_change` said it before all registries were asked; None if only some
            were.
    """

    told: Mapping[str, str | None]
    changed: int | None = None


class Learned(msgspec.Struct, frozen=True):
    """What is kept of a project.

    Attributes:
        asked: When registries were asked last; None where they never were.
        changed: The time of the newest index that was read in a folder, in nanoseconds.
        yanked: Digests of releases to why they were yanked.
    """

    asked: datetime | None = None
    changed: int = 0
    yanked: dict[str, str] = {}

    def of(self, pins: Iterable[Pin]) -> dict[ModuleName, str]:
        """Return the modules whose releases were yanked, and why."""
        return {pin.module: self.yanked[pin.digest] for pin in pins if pin.digest in self.yanked}

    def after(self, answer: Answer) -> Learned:
        """Return what there is to keep after registries have said more."""
        told = {**self.yanked, **answer.told}
        yanked = {digest: reason for digest, reason in told.items() if reason is not None}
        if answer.changed is None:
            return Learned(self.asked, self.changed, yanked)
        return Learned(datetime.now(UTC), answer.changed, yanked)

    def to_bytes(self) -> bytes:
        """Return what is kept, as TOML."""
        asked = [] if self.asked is None else [f"asked = {self.asked.isoformat()}"]
        lines = [_COMMENT, *asked, f"changed = {self.changed}", "", "[yanked]"]
        lines += [
            f"{toml_string(d)} = {toml_string(why)}" for d, why in sorted(self.yanked.items())
        ]
        return "".join(f"{line}\n" for line in lines).encode()


def kept_path(place: Project) -> Path:
    """Return the user's file of what was learned for a project."""
    return home() / "yanks" / f"{sha256(os.fsencode(place.root)).hexdigest()[:32]}.toml"


def learned(place: Project) -> Learned:
    """Return what is kept of a project; nothing where that cannot be read."""
    path = kept_path(place)
    of_file = TomlFile(path, "invalid-project", "")
    with suppress(ModpmError):
        return of_file.convert(Learned, of_file.parse(read(path) or b""))
    return Learned()


def known_yanks(
    place: Project, pins: Iterable[Pin], answer: Answer | None = None
) -> dict[ModuleName, str]:
    """Return which releases are known to be yanked, and why, before an answer or with it."""
    kept = learned(place)
    return (kept if answer is None else kept.after(answer)).of(pins)


def ask(place: Project, pins: Sequence[Pin]) -> Answer:
    """Ask registries which releases were yanked.

    Raises:
        ModpmError: `rolled-back`, `release-changed`.
    """
    from modpm.registry.pins.pinning import told_yanks  # noqa: PLC0415 -- only where a registry is asked

    changed, told = newest_change(place, pins), told_yanks(pins, place.root)
    return Answer({pin.digest: told[pin.module] for pin in pins if pin.module in told}, changed)


def ask_and_keep(place: Project, pins: Sequence[Pin]) -> dict[ModuleName, str]:
    """Return which releases were yanked, and why; of registries that are away, what is known.

    Raises:
        ModpmError: `rolled-back`, `release-changed`.
    """
    answer = ask(place, pins)
    keep(place, answer)
    return known_yanks(place, pins, answer)


def is_due(place: Project, pins: Sequence[Pin]) -> bool:
    """Tell whether registries are to be asked though nothing else is needed of them.

    Those in folders where an index has changed since, which costs next to nothing to see; others a
    day after the last time.
    """
    kept = learned(place)
    if newest_change(place, pins) > kept.changed:
        return True
    if not any(is_remote(_location(place, pin)) for pin in pins):
        return False
    if kept.asked is None:  # what came out of the store came without a registry
        keep(place, Answer({}, kept.changed))
        return False
    return datetime.now(UTC) - kept.asked > _OLD


def keep(place: Project, answer: Answer) -> None:
    """Keep what registries have said, where something is installed, and may be written."""
    kept = learned(place)
    new = kept.after(answer)
    if new != kept and place.installed_path.exists():
        with suppress(ModpmError, OSError):
            path = kept_path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, new.to_bytes())


def newest_change(place: Project, pins: Iterable[Pin]) -> int:
    """Return when the newest index of some releases was changed, of those that are in folders."""
    return max((_changed(place, pin) for pin in pins), default=0)


def _changed(place: Project, pin: Pin) -> int:
    location = _location(place, pin)
    if location and not is_remote(location):
        with suppress(OSError, ValueError):
            return Path(location, layout.index_path(pin.module)).stat().st_mtime_ns
    return 0


def _location(place: Project, pin: Pin) -> str:
    with suppress(ModpmError):
        return pin.registry.location(place.root)
    return ""
