"""What a command asks of a project, and how much it may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modpm.registry.projects.bounds import Bounds
from modpm.registry.projects.editing import Edit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.addresses import Registries


@dataclass(frozen=True)
class Conditions:
    """How much a command may do.

    Attributes:
        locked: Fail if `modpm.lock` would have to change.
        frozen: Take `modpm.lock` as it is, whatever `modpm.toml` says.
        offline: Open no registry.
        dry_run: Change nothing.
        save: Write `modpm.toml` and `modpm.lock`.
    """

    locked: bool = False
    frozen: bool = False
    offline: bool = False
    dry_run: bool = False
    save: bool = True


@dataclass(frozen=True)
class Request:
    """What a command asks of a project.

    Attributes:
        edit: What is to change in `modpm.toml`, but for registries and namespaces.
        registries: Registries that the user names.
        moving: What need not stay at its locked version, known by name.
        moves_all: Nothing needs to stay.
        resolves: Registries are asked even if the lockfile meets everything.
        moved_namespaces: Namespaces that are to belong to the first of the registries.
        bounds: What choosing releases must keep to.
    """

    edit: Edit = field(default_factory=Edit)
    registries: Registries = None
    moving: tuple[Requirement, ...] = ()
    moves_all: bool = False
    resolves: bool = False
    moved_namespaces: str | Sequence[str] = ()
    bounds: Bounds = field(default_factory=Bounds.of)

    @property
    def moves_any(self) -> bool:
        """Whether anything may get another version than it needs to."""
        return self.moves_all or bool(self.moving)

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
