"""Several registries as one: the first that has a name owns it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Address
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index


@dataclass(frozen=True)
class Listing:
    """What the registry that owns a name lists for it."""

    address: Address
    backend: Backend
    index: Index


class RegistryCatalogue:
    """What can be installed from an ordered list of registries.

    Args:
        addresses: The registries, the first first.
        base: What their relative paths are relative to.
        owners: The registry that a module was locked from, which goes before the others for it
            as long as it is one of them.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        base: Path,
        owners: Mapping[ModuleName, Address] | None = None,
    ) -> None:
        self._backends = {address: address.open(base) for address in addresses}
        self._owners = owners or {}
        self._listings: dict[ModuleName, Listing] = {}

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace, in whichever registry.

        Raises:
            ModpmError: `unknown-namespace`, if there are none.
        """
        found = {name for b in self._backends.values() for name in b.names(namespace)}
        if found:
            return sorted(found)
        namespaces = {name.namespace for b in self._backends.values() for name in b.names()}
        close = difflib.get_close_matches(namespace, sorted(namespaces), n=1)
        raise ModpmError(
            f"there are no modules of the namespace `{namespace}`",
            code="unknown-namespace",
            where=self._places(),
            hint=f"did you mean `{close[0]}/*`?" if close else "publish some, or name a registry",
        )

    def index(self, module: ModuleName) -> Index:
        """Return what its owner lists for a module.

        Raises:
            ModpmError: `unknown-module`.
        """
        return self.listing(module).index

    def place_of(self, module: ModuleName) -> str:
        """Return where the registry is that owns a module."""
        return self.listing(module).backend.location

    def listing(self, module: ModuleName) -> Listing:
        """Return the registry that owns a module, and what it lists.

        Raises:
            ModpmError: `unknown-module`.
        """
        if module not in self._listings:
            self._listings[module] = self._find(module)
        return self._listings[module]

    def _find(self, module: ModuleName) -> Listing:
        owner = self._owners.get(module)
        first = [owner] if owner in self._backends else []
        for address in [*first, *self._backends]:
            index = self._backends[address].index(module)
            if index is not None:
                return Listing(address, self._backends[address], index)
        raise self._unknown(module)

    def _unknown(self, module: ModuleName) -> ModpmError:
        names = sorted({str(name) for b in self._backends.values() for name in b.names()})
        close = difflib.get_close_matches(str(module), names, n=3)
        meant = " or ".join(f"`{name}`" for name in close)
        return ModpmError(
            f"there is no module `{module}`",
            code="unknown-module",
            where=self._places(),
            why=f"of the {len(names)} modules there, none has this name",
            hint=f"did you mean {meant}?" if close else "name another registry by `--registry`",
        )

    def _places(self) -> str:
        places = ", ".join(backend.location for backend in self._backends.values())
        return f"registry {places}" if len(self._backends) == 1 else f"registries {places}"
