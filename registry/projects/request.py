"""What a command asks of a project, how much it may do, and what choosing must keep to."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.errors import ModpmError, suggestion
from modpm.core.formats.requirements import Requirement
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.project import PROJECT_FILE
from modpm.registry.projects.requirement_graph import RequirementGraph, not_locked

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from modpm.registry.addresses import Registries
    from modpm.registry.projects.lockfile import Lockfile
    from modpm.registry.projects.project import Project, Wishes

_TIMEOUT_VARIABLE = "MODPM_RESOLVE_TIMEOUT"
_DEFAULT_SECONDS = 20.0
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = _DATE + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"


class Bounds(NamedTuple):
    """What choosing releases must keep to.

    Attributes:
        until: Releases published after this, as indexes write times, are as if absent, but for
            those that are locked and stay; None for no such time.
    """

    until: str | None
    limit_seconds: float

    @classmethod
    def of(cls, exclude_newer: str | None = None, resolve_timeout: float | None = None) -> Bounds:
        """Return the bounds that a user sets.

        Args:
            exclude_newer: A date, which counts to its end in UTC, or a time, as in RFC 3339.
            resolve_timeout: Seconds; None for those of `MODPM_RESOLVE_TIMEOUT`, or else 20.

        Raises:
            ModpmError: `bad-setting`.
        """
        until = None if exclude_newer is None else _until(exclude_newer)
        if resolve_timeout is None:
            text = os.environ.get(_TIMEOUT_VARIABLE) or _DEFAULT_SECONDS
            return cls(until, _seconds(text, _TIMEOUT_VARIABLE))
        return cls(until, _seconds(resolve_timeout, "--resolve-timeout"))


_DEFAULT_BOUNDS = Bounds(None, _DEFAULT_SECONDS)


class Request(msgspec.Struct, frozen=True):
    """What a command asks of a project, and how much it may do.

    Attributes:
        edit: What is to change in `modpm.toml`, but for registries and namespaces.
        moving: What need not stay at its locked version, known by name.
        resolves: Registries are asked even if the lockfile meets everything.
        moved_namespaces: Namespaces that are to belong to the first of the registries.
        locked: Fail if `modpm.lock` would have to change.
        frozen: Take `modpm.lock` as it is, whatever `modpm.toml` asks for.
        save: Write `modpm.toml` and `modpm.lock`.
    """

    edit: Edit = msgspec.field(default_factory=Edit)
    registries: Registries = None
    moving: tuple[Requirement, ...] = ()
    moves_all: bool = False
    resolves: bool = False
    moved_namespaces: str | Sequence[str] = ()
    bounds: Bounds = _DEFAULT_BOUNDS
    locked: bool = False
    frozen: bool = False
    offline: bool = False
    dry_run: bool = False
    save: bool = True

    @property
    def looks_up(self) -> bool:
        """Whether something is added whose meaning only registries know."""
        return any(r.module is None or r.tag is not None for r in self.edit.add)

    def moves(self, namespace: str, name: str | None) -> bool:
        """Tell whether a module, or the meaning of a namespace (`name` None), may change."""
        asked = {(r.namespace, r.name) for r in self.moving}
        return self.moves_all or bool({(namespace, name), (namespace, None)} & asked)

    @property
    def named_namespaces(self) -> set[str]:
        """The namespaces of what the user names."""
        return {r.namespace for r in (*self.edit.add, *self.moving)}


def _until(text: str) -> str:
    """Return a time as indexes write it, to the second."""
    time = f"{text}T23:59:59Z" if re.fullmatch(_DATE, text) else text.upper()
    try:
        if re.fullmatch(_TIME, time):
            moment = datetime.fromisoformat(time).astimezone(UTC)
            return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        pass
    raise ModpmError(
        f"{text[:40]!r} is neither a date nor a time",
        code="bad-setting",
        hint="write `2026-01-31`, or `2026-01-31T12:00:00Z`, for `--exclude-newer`",
        exit_code=2,
    )


def _seconds(given: float | str, where: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ModpmError(
            f"resolving cannot be given {str(given)[:40]!r} seconds",
            code="bad-setting",
            where=where,
            hint="give a number above 0, such as 60",
            exit_code=2,
        )
    return seconds


def parse_selection(names: str | Sequence[str]) -> tuple[Requirement, ...]:
    """Read names of modules (`cifar10/cat`) and namespaces (`cifar10/*`).

    Raises:
        ModpmError: `invalid-name`; `invalid-requirement`, if there is more to one than a name.
    """
    texts = [names] if isinstance(names, str) else names
    selection = tuple(map(Requirement.parse, texts))
    for one in selection:
        if one.tag is not None or one.versions:
            raise ModpmError(
                f"`{one}` is more than a name",
                code="invalid-requirement",
                hint="give the name alone, such as `cifar10/cat`; other versions are asked for by "
                "`modpm install`",
                exit_code=2,
            )
    return selection


def check_asked(selection: Sequence[Requirement], wishes: Wishes, place: Project) -> None:
    """Check that `modpm.toml` asks for each, in these words.

    Raises:
        ModpmError: `not-asked`, saying who else requires it.
    """
    asked = {(r.namespace, r.name): r for r in wishes.all_requirements()}
    for one in selection:
        if (one.namespace, one.name) not in asked:
            raise _not_asked(one, asked.values(), place)


def check_locked(selection: Sequence[Requirement], lock: Lockfile | None, place: Project) -> None:
    """Check that `modpm.lock` has each of them.

    Raises:
        ModpmError: `not-locked`.
    """
    locked = [pin.module for pin in lock.pins] if lock is not None else []
    for one in selection:
        if not any(map(one.is_on, locked)):
            raise not_locked(str(one), locked, place)


def _not_asked(one: Requirement, asked: Collection[Requirement], place: Project) -> ModpmError:
    texts, names = sorted(map(str, asked)), [str(Requirement(r.namespace, r.name)) for r in asked]
    return ModpmError(
        f"`{PROJECT_FILE}` does not ask for `{one}`",
        code="not-asked",
        where=str(place.toml_path),
        why="; ".join(_who_does(one, place)) or f"it asks for: {', '.join(texts) or 'nothing'}",
        hint=suggestion(str(one), names, f"`{PROJECT_FILE}` is there to be edited"),
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
