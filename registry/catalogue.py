"""Several registries as one: each namespace belongs to one of them (W-4)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError, suggestion
from modpm.core.system.threads import in_threads
from modpm.registry.addresses import Address
from modpm.registry.backends.opening import is_remote
from modpm.registry.backends.shards import unless_damaged
from modpm.registry.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index


class Listing(msgspec.Struct, frozen=True):
    """What the registry that a name belongs to lists for it."""

    address: Address
    backend: Backend
    index: Index


class RegistryCatalogue:
    """What can be installed from a list of registries, the first first.

    Args:
        base: What their relative paths are relative to.
        bound: The registries that namespaces belong to.
        first: Registries that go first for some namespaces of which that is not known.
        refused: Why nothing may be taken for a namespace.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        base: Path,
        bound: Mapping[str, Address] = MappingProxyType({}),
        first: Mapping[str, Sequence[Address]] = MappingProxyType({}),
        refused: Mapping[str, ModpmError] = MappingProxyType({}),
    ) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))
        self._base = base
        self._bound = dict(bound)
        self._first = first
        self._refused = refused
        # Each when it is needed: its client library may take long to import.
        self._open = cache(partial(Address.open, base=base))
        self._listing_of = cache(self._read)
        self._deciding = RLock()
        self._seen = Seen()
        self.left_out: dict[ModuleName, ModpmError] = {}

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace, without those whose index cannot be used.

        Raises:
            ModpmError: `unknown-namespace`, if there are none; what `listing` raises, if there
                are no others.
        """
        owner = self._owner(namespace)
        found = [] if owner is None else self._open(owner).names(namespace)
        if found:
            return self._usable(sorted(found))
        others = {name.namespace for name in self._names(self._addresses)}
        raise ModpmError(
            f"there are no modules of the namespace `{namespace}`",
            code="unknown-namespace",
            where=self._places(),
            hint=suggestion(namespace, others, "publish some, or name a registry", form="{}/*"),
        )

    def index(self, module: ModuleName) -> Index:
        """Return what the registry of its namespace lists for a module."""
        return self.listing(module).index

    def place_of(self, module: ModuleName) -> str:
        """Return where the registry is that a module belongs to."""
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
        """Return the registry that a module belongs to, and what it lists.

        Raises:
            ModpmError: `unknown-module`; `other-registry`, if the project does not have the
                registry that the namespace is locked from; `cannot-list`, if a registry does not
                tell whether it has the namespace; what `Seen.index` raises.
        """
        owner = self._owner(module.namespace, module)
        listing = None if owner is None else self._listing_of(owner, module)
        if listing is None:
            raise self._unknown(module, owner)
        return listing

    def _usable(self, modules: Sequence[ModuleName]) -> Sequence[ModuleName]:
        self.read_ahead(modules)
        for module in modules:
            _, damage = unless_damaged(partial(self.listing, module))
            if damage is not None:
                self.left_out[module] = damage
        usable = [module for module in modules if module not in self.left_out]
        if not usable:
            raise self.left_out[modules[0]]
        return usable

    def _owner(self, namespace: str, module: ModuleName | None = None) -> Address | None:
        """Return the registry that a namespace belongs to; None if none has it.

        One of which nothing is said belongs to the first that has any module of it: which one is
        asked for first must not decide, and neither must what is away.
        """
        with self._deciding:
            if namespace in self._refused:
                raise self._refused[namespace]
            if namespace not in self._bound:
                order = dict.fromkeys([*self._first.get(namespace, ()), *self._addresses])
                owner = next((a for a in order if self._has(a, namespace, module)), None)
                if owner is None:
                    return None
                self._bound[namespace] = owner
            return self._bound[namespace]

    def _has(self, address: Address, namespace: str, module: ModuleName | None) -> bool:
        if len(self._addresses) == 1:
            return True
        if module is not None and self._listing_of(address, module) is not None:
            return True
        return bool(self._open(address).names(namespace))

    def _read(self, address: Address, module: ModuleName) -> Listing | None:
        backend = self._open(address)
        index = self._seen.index(backend, module)
        return None if index is None else Listing(address, backend, index)

    def _unknown(self, module: ModuleName, owner: Address | None) -> ModpmError:
        names = self._names(self._addresses if owner is None else [owner])
        few = {0: None, 1: "the one module there has another name"}
        why = few.get(len(names), f"of the {len(names)} modules there, none has this name")
        other = None if owner is None else self._elsewhere(module, owner)
        if owner is not None and other is not None:
            why = (
                f"`{module.namespace}` belongs to `{owner.name}`, which does not list it; "
                f"`{other.name}` ({other.location(self._base)}) does, and is not taken instead"
            )
        return ModpmError(
            f"there is no module `{module}`",
            code="unknown-module",
            where=self._places(owner),
            why=why,
            hint=suggestion(
                str(module), map(str, names), "name another registry by `--registry`", n=3
            ),
        )

    def _names(self, addresses: Sequence[Address]) -> list[ModuleName]:
        """Return the names that registries have, as far as they tell them."""
        names: set[ModuleName] = set()
        for address in addresses:
            try:
                names |= set(self._open(address).names())
            except ModpmError as error:
                if error.code != "cannot-list":
                    raise
        return sorted(names)

    def _elsewhere(self, module: ModuleName, owner: Address) -> Address | None:
        """Return another registry that lists a module, to tell of it."""
        for address in self._addresses:
            with suppress(ModpmError):
                if address != owner and self._open(address).index(module) is not None:
                    return address
        return None

    def _places(self, owner: Address | None = None) -> str:
        addresses = self._addresses if owner is None else (owner,)
        places = ", ".join(address.location(self._base) for address in addresses)
        return f"registry {places}" if len(addresses) == 1 else f"registries {places}"
