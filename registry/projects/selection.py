"""Names of modules and namespaces that a user gives to a verb, and whether they mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.projects.lockfile import Lockfile
from modpm.registry.projects.project import PROJECT_FILE
from modpm.registry.projects.requirement_graph import RequirementGraph

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.project import Project


def parse_selection(names: str | Sequence[str]) -> tuple[Requirement, ...]:
    """Read names of modules (`cifar10/cat`) and namespaces (`cifar10/*`).

    Raises:
        ModpmError: `invalid-name`; `invalid-requirement`, if there is more to one than a name.
    """
    texts = [names] if isinstance(names, str) else names
    return tuple(_parse(text) for text in texts)


def check_asked(selection: Sequence[Requirement], place: Project) -> None:
    """Check that `modpm.toml` asks for each, in these words.

    Raises:
        ModpmError: `not-asked`, saying who else requires it.
    """
    asked = {(r.namespace, r.name): r for r in place.wishes().all_requirements()}
    for one in selection:
        if (one.namespace, one.name) not in asked:
            raise _not_asked(one, asked.values(), place)


def check_locked(selection: Sequence[Requirement], place: Project) -> None:
    """Check that `modpm.lock` has each of them.

    Raises:
        ModpmError: `not-locked`.
    """
    lock = place.lock() or Lockfile((), ())
    for one in selection:
        if not any(one.is_on(pin.module) for pin in lock.pins):
            raise not_locked(str(one), [pin.module for pin in lock.pins], place)


def not_locked(name: str, locked: Iterable[ModuleName], place: Project) -> ModpmError:
    """Return the error of a module that `modpm.lock` does not have."""
    names = sorted(map(str, locked))
    import difflib  # noqa: PLC0415 -- only for errors

    close = difflib.get_close_matches(name, names, n=1)
    return ModpmError(
        f"`{name}` is not locked",
        code="not-locked",
        where=str(place.lock_path),
        why=f"locked are: {', '.join(names) or 'no modules'}",
        hint=f"did you mean `{close[0]}`?" if close else f"run `modpm install {name}`",
    )


def _parse(text: str) -> Requirement:
    requirement = Requirement.parse(text)
    if requirement.tag is None and not requirement.versions:
        return requirement
    raise ModpmError(
        f"`{text}` is more than a name",
        code="invalid-requirement",
        hint="give the name alone, such as `cifar10/cat`; other versions are asked for by "
        "`modpm install`",
        exit_code=2,
    )


def _not_asked(one: Requirement, asked: Collection[Requirement], place: Project) -> ModpmError:
    texts, names = sorted(map(str, asked)), [str(Requirement(r.namespace, r.name)) for r in asked]
    import difflib  # noqa: PLC0415 -- only for errors

    close = difflib.get_close_matches(str(one), names, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"`{PROJECT_FILE}` is there to be edited"
    return ModpmError(
        f"`{PROJECT_FILE}` does not ask for `{one}`",
        code="not-asked",
        where=str(place.toml_path),
        why="; ".join(_who_does(one, place)) or f"it asks for: {', '.join(texts) or 'nothing'}",
        hint=hint,
    )


def _who_does(one: Requirement, place: Project) -> list[str]:
    lock, module = place.lock(), one.module
    if lock is None or module is None:
        return []
    return [
        f"it asks for `{edge.requirement}`"
        if edge.by is None
        else f"`{edge.by}` requires `{edge.requirement}`"
        for edge in RequirementGraph(lock).required_by.get(module, ())
    ]
