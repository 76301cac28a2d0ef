"""What a resolution starts from: what is asked for, and what can be chosen from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.core.formats.requirements import Requirement
    from modpm.registry.index import Index
    from modpm.registry.resolver.version_sets import VersionSet


class Catalogue(Protocol):
    """What can be chosen from."""

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace.

        Raises:
            ModpmError: `unknown-namespace`, if there are none.
        """

    def index(self, module: ModuleName) -> Index:
        """Return what is listed for a module.

        Raises:
            ModpmError: `unknown-module`.
        """

    def place_of(self, module: ModuleName) -> str:
        """Return which registry lists it, for errors."""


@dataclass(frozen=True)
class Demand:
    """A requirement, and who asks for it."""

    requirement: Requirement
    asked_by: str

    def __str__(self) -> str:
        return f"`{self.requirement}` is asked for by {self.asked_by}"


@dataclass(frozen=True)
class Asked:
    """What is asked of one module directly.

    Attributes:
        module: The module.
        demands: All demands on it.
        fitting: The releases that may be chosen for them together.
    """

    module: ModuleName
    demands: tuple[Demand, ...]
    fitting: VersionSet
