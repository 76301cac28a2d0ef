"""A lockfile that is out of step: what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.projects.lockfile import Lockfile, changes_between
from modpm.registry.projects.project import LOCK_FILE, PROJECT_FILE, Project, Wishes
from modpm.registry.projects.requirement_graph import RequirementGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.registry.projects.sources import Sources


def lock_problems(lock: Lockfile, wishes: Wishes, sources: Sources) -> list[str]:
    """Return everything in which a lockfile is not what `modpm.toml` says, or would (L-9)."""
    unmet = RequirementGraph(lock).problems()
    return [*sources.problems(lock.pins).values(), *_other_wishes(wishes, lock), *unmet]


def out_of_date(place: Project, problems: Sequence[str]) -> ModpmError:
    """Return the error of a lockfile that may not change, and has to."""
    return ModpmError(
        f"`{LOCK_FILE}` is out of step with `{PROJECT_FILE}`",
        code="lock-out-of-date",
        where=str(place.lock_path),
        why="\n".join(problems) or "files of its modules are not those that registries list",
        hint="run `modpm lock`, and look at what it changes",
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


def other_pins(lock: Lockfile, chosen: Lockfile) -> Iterator[str]:
    """Give the versions in which a lockfile is not what it would become."""
    for change in changes_between(lock, chosen):
        if change.after is None:
            yield f"`{change.name}` {change.before} would go"
        elif change.before is None:
            yield f"`{change.name}` {change.after} would come"
        else:
            yield f"`{change.name}` {change.before} would be {change.after}"
