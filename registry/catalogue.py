"""Several registries as one: the first that has a name owns it."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.backends.opening import is_remote
from modpm.registry.system.threads import in_threads

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
        owners: The registry that a module was locked from; no other is asked for it (L-7).
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        base: Path,
        owners: Mapping[ModuleName, Address] | None = None,
    ) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))
        self._base = base
        self._opened: dict[Address, Backend] = {}
        self._owners = owners or {}
        self._listings: dict[ModuleName, Listing] = {}

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace, in whichever registry.

        Raises:
            ModpmError: `unknown-namespace`, if there are none.
        """
        found = {name for b in self._backends for name in b.names(namespace)}
        if found:
            return sorted(found)
        namespaces = {name.namespace for b in self._backends for name in b.names()}
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
            ModpmError: As `listing`.
        """
        return self.listing(module).index

    def place_of(self, module: ModuleName) -> str:
        """Return where the registry is that owns a module."""
        return self.listing(module).backend.location

    def read_ahead(self, modules: Sequence[ModuleName]) -> None:
        """Read what will be needed, several at once; what fails is told when it is asked for.

        Only what is far away: reading one file after the other costs less than threads do.
        """
        if not any(is_remote(address.location(self._base)) for address in self._addresses):
            return

        def read(module: ModuleName) -> None:
            with suppress(ModpmError):
                self.listing(module)

        in_threads(read, modules, "indexes cannot be read")

    def listing(self, module: ModuleName) -> Listing:
        """Return the registry that owns a module, and what it lists.

        Raises:
            ModpmError: `unknown-module`; `other-registry`, if it would not come from the registry
                that it is locked from.
        """
        if module not in self._listings:
            self._listings[module] = self._find(module)
        return self._listings[module]

    @property
    def _backends(self) -> list[Backend]:
        return [self._open(address) for address in self._addresses]

    def _open(self, address: Address) -> Backend:
        """Open a registry when it is needed: its client library may take long to import."""
        if address not in self._opened:
            self._opened[address] = address.open(self._base)
        return self._opened[address]

    def _find(self, module: ModuleName) -> Listing:
        owner = self._owners.get(module)
        is_lost = owner is not None and owner not in self._addresses
        listing = self._listing_of(owner, module) if owner is not None and not is_lost else None
        if listing is not None:
            return listing
        first = self._first_that_has(module)
        if owner is not None and (is_lost or first is not None):
            raise self._other_registry(module, owner, first)
        if first is None:
            raise self._unknown(module)
        return first

    def _first_that_has(self, module: ModuleName) -> Listing | None:
        found = (self._listing_of(address, module) for address in self._addresses)
        return next((listing for listing in found if listing is not None), None)

    def _listing_of(self, address: Address, module: ModuleName) -> Listing | None:
        backend = self._open(address)
        index = backend.index(module)
        return None if index is None else Listing(address, backend, index)

    def _other_registry(
        self, module: ModuleName, owner: Address, first: Listing | None
    ) -> ModpmError:
        place = f"`{owner.name}` ({owner.location(self._base)})"
        is_used = owner in self._addresses
        return ModpmError(
            f"`{module}` would come from another registry than the one it is locked from",
            code="other-registry",
            where=self._places(),
            why=f"it is locked from {place}, which "
            + ("does not list it any more" if is_used else "is not one of these"),
            hint=f"name that registry by `--registry {owner.url}`"
            if first is None
            else f"if it is the same module, move it by `modpm install {module} "
            f"--registry {first.backend.location}`",
        )

    def _unknown(self, module: ModuleName) -> ModpmError:
        names = sorted({str(name) for b in self._backends for name in b.names()})
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
        places = ", ".join(backend.location for backend in self._backends)
        return f"registry {places}" if len(self._backends) == 1 else f"registries {places}"
