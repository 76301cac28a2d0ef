"""A lockfile that is out of step: what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.projects.changes import changes_between
from modpm.registry.projects.lockfile import Lockfile
from modpm.registry.projects.project import LOCK_FILE, PROJECT_FILE, Project, Wishes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def is_in_step(lock: Lockfile, wishes: Wishes) -> bool:
    """Tell whether a lockfile was made for what `modpm.toml` says (L-3)."""
    return lock.is_for(wishes.all_requirements(), same_origin=wishes.same_origin)


def out_of_date(
    place: Project,
    wishes: Wishes,
    lock: Lockfile,
    chosen: Lockfile | None = None,
    problems: Sequence[str] = (),
) -> ModpmError:
    """Return the error of a lockfile that may not change, and has to.

    Args:
        place: The project.
        wishes: What `modpm.toml` says, or would say.
        lock: The lockfile.
        chosen: What it would become; None if that was not found out.
        problems: What is wrong with its registries.
    """
    lines = [*problems, *_other_wishes(wishes, lock), *_other_pins(lock, chosen or lock)]
    return ModpmError(
        f"`{LOCK_FILE}` is out of step with `{PROJECT_FILE}`",
        code="lock-out-of-date",
        where=str(place.lock_path),
        why="\n".join(lines) or "registries or files of its modules are not those that it names",
        hint="run `modpm lock`, and look at what it changes",
    )


def lock_missing(place: Project) -> ModpmError:
    """Return the error of a lockfile that is needed, and not there."""
    return ModpmError(
        f"there is no `{LOCK_FILE}`",
        code="lock-missing",
        where=str(place.root),
        hint="run `modpm lock`, or restore it from version control",
    )


def _other_wishes(wishes: Wishes, lock: Lockfile) -> Iterator[str]:
    wanted = Lockfile.of(wishes.all_requirements(), ()).requirements
    for text in wanted:
        if text not in lock.requirements:
            yield f"`{text}` is asked for, and not locked"
    for text in lock.requirements:
        if text not in wanted:
            yield f"`{text}` is locked, and not asked for"
    if wishes.same_origin != lock.same_origin:
        yield f"`same-origin` is {str(wishes.same_origin).lower()} now"


def _other_pins(lock: Lockfile, chosen: Lockfile) -> Iterator[str]:
    for change in changes_between(lock, chosen):
        if change.after is None:
            yield f"`{change.name}` {change.before} would go"
        elif change.before is None:
            yield f"`{change.name}` {change.after} would come"
        else:
            yield f"`{change.name}` {change.before} would be {change.after}"
