"""What a command changes: modules that come, go, or have another version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.lockfile import Lockfile


@dataclass(frozen=True)
class Change:
    """What became of one module.

    Attributes:
        name: The module.
        before: The version that there was; None if there was none.
        after: The version that there is; None if there is none.
    """

    name: ModuleName
    before: str | None
    after: str | None


def changes_between(before: Lockfile, after: Lockfile) -> tuple[Change, ...]:
    """Return what is not the same in two lockfiles, sorted by name."""
    old = {pin.module: pin.version for pin in before.pins}
    new = {pin.module: pin.version for pin in after.pins}
    names = sorted(old.keys() | new.keys())
    return tuple(Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))
