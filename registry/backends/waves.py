"""Publishing many names at once, and no composition before its class modules (clause V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from modpm.registry.index import CompositionRelease, Release
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Entry(Protocol):
    """A release on its way into a registry."""

    @property
    def release(self) -> Release:
        """The release."""


E = TypeVar("E", bound=Entry)
Result = TypeVar("Result")


def in_waves(
    work: Callable[[Sequence[E]], Result], groups: Sequence[Sequence[E]], what: str
) -> list[Result]:
    """Do some work for each group of entries: first for those that hold no composition.

    Args:
        work: Publishes a group, the entries of one name.
        groups: The groups.
        what: As for `in_threads`.

    Returns:
        The results, in no order.

    Raises:
        ModpmError: As `in_threads`; the second wave is not begun then.
    """
    modules = [group for group in groups if not _holds_compositions(group)]
    compositions = [group for group in groups if _holds_compositions(group)]
    return [*in_threads(work, modules, what), *in_threads(work, compositions, what)]


def _holds_compositions(group: Sequence[Entry]) -> bool:
    return any(isinstance(entry.release, CompositionRelease) for entry in group)
