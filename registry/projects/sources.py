"""The registries of a project, and which of them a namespace belongs to (W-4, W-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError
from modpm.registry.addresses import (
    DEFAULT_NAME,
    default_address,
    environment_address,
    given_addresses,
    known_address,
)
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.user_settings import user_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from modpm.registry.addresses import Address, Registries
    from modpm.registry.catalogue import RegistryCatalogue
    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Project, Wishes


class Sources(NamedTuple):
    """The registries that modules may come from.

    Attributes:
        root: What their relative paths are relative to.
        given: Those that the user names now.
        usable: All of them, the first first.
        bound: The registries that namespaces belong to, as the project says.
        preferred: The same as the user says, for namespaces of which the project says nothing.
    """

    root: Path
    given: tuple[Address, ...]
    usable: tuple[Address, ...]
    bound: Mapping[str, Address]
    preferred: Mapping[str, Address]

    @classmethod
    def of(cls, place: Project, wishes: Wishes, registries: Registries = None) -> Sources:
        """Return the registries of a project, after those that the user names now.

        Raises:
            ModpmError: `invalid-project`, for settings of the user; `unknown-registry-kind`.
        """
        given = given_addresses(registries, place.root, wishes.registries)
        known = list(dict.fromkeys([*given, *wishes.registries]))
        environment = None if known else environment_address(place.root)
        known += [] if environment is None else [environment]
        theirs: dict[str, Address] = {}
        user = user_settings()
        for address in user.registries:
            theirs[address.name] = known_address(address, place.root, known)
            known = list(dict.fromkeys([*known, theirs[address.name]]))
        return cls(
            place.root,
            given,
            tuple(known) or (default_address(),),
            _named(wishes.namespaces, {a.name: a for a in wishes.registries}),
            _named(user.namespaces, theirs),
        )

    @property
    def helping(self) -> tuple[Address, ...]:
        """All registries that may help out with a file, of which the digest is known."""
        environment = environment_address(self.root, self.usable)
        return (*self.usable, *(() if environment in {None, *self.usable} else (environment,)))

    def owner(self, pin: Pin) -> Address | None:
        """Return the registry of the project that a pin came from; None if it has none such."""
        location = pin.registry.location(self.root)
        known = (*self.usable, *self.bound.values(), *self.preferred.values())
        return next((a for a in known if a.location(self.root) == location), None)

    def problems(self, pins: Iterable[Pin]) -> Iterator[str]:
        """Give which pins are not from the registry that their namespace belongs to.

        A pin of a namespace of which the project says nothing must be from one of its registries.
        """
        for pin in pins:
            bound, owner = self.bound.get(pin.module.namespace), self.owner(pin)
            place = pin.registry.location(self.root)
            if bound is None and owner is None:
                yield f"`{pin.module}` is locked from {place}, which is no registry of the project"
            elif bound is not None and bound.location(self.root) != place:
                yield (
                    f"`{pin.module}` is locked from {place}, and `{pin.module.namespace}` belongs "
                    f"to `{bound.name}` ({bound.location(self.root)})"
                )

    def catalogue(self, pins: Iterable[Pin]) -> RegistryCatalogue:
        """Return everything that is listed, for a project with these pins.

        A namespace of which the project says nothing stays with the registry of its pins.
        """
        from modpm.registry.catalogue import RegistryCatalogue  # noqa: PLC0415 -- slow to import

        owners: dict[str, Address] = {}
        refused: dict[str, ModpmError] = {}
        for pin in pins:
            namespace, owner = pin.module.namespace, self.owner(pin)
            if namespace in self.bound:
                continue
            if owner is None or owners.setdefault(namespace, owner) != owner:
                refused[namespace] = self._other_registry(pin, owners.get(namespace))
        bound = {**self.preferred, **owners, **self.bound}
        return RegistryCatalogue(self.usable, self.root, bound, refused)

    def learned(self, pins: Iterable[Pin], wishes: Wishes) -> Edit:
        """Return what `modpm.toml` does not say yet: which registries namespaces belong to."""
        owners = {p.module.namespace: self.owner(p) or p.registry for p in pins}
        new = {n: owner for n, owner in owners.items() if n not in wishes.namespaces}
        added = [a for a in dict.fromkeys(new.values()) if a != default_address()]
        names = {namespace: address.name for namespace, address in new.items()}
        return Edit(registries=tuple(added), namespaces=names)

    def check_given(self, namespaces: Iterable[str], pins: Iterable[Pin]) -> None:
        """Check that what is asked for by name does not belong to another registry than is named.

        Raises:
            ModpmError: `other-registry`.
        """
        owners = {pin.module.namespace: self.owner(pin) or pin.registry for pin in pins}
        for namespace in namespaces:
            owner = {**owners, **self.bound}.get(namespace)
            places = [address.location(self.root) for address in self.given]
            if owner is not None and places and owner.location(self.root) not in places:
                raise ModpmError(
                    f"`{namespace}` belongs to another registry than the one that is named",
                    code="other-registry",
                    where=places[0],
                    why=f"it belongs to `{owner.name}` ({owner.location(self.root)})",
                    hint="leave `--registry` out, or, if the namespace has moved, add "
                    f"`--move-namespace {namespace}`",
                )

    def _other_registry(self, pin: Pin, other: Address | None) -> ModpmError:
        place = f"`{pin.registry.name}` ({pin.registry.location(self.root)})"
        besides = "is no registry of the project"
        if other is not None:
            besides = f"other modules of the namespace from `{other.name}`"
        return ModpmError(
            f"`{pin.module}` would come from another registry than the one it is locked from",
            code="other-registry",
            where=str(self.root),
            why=f"it is locked from {place}, {'and' if other else 'which'} {besides}",
            hint=f"name that registry by `--registry {pin.registry.location(self.root)}`, or move "
            f"the namespace by `--registry URL --move-namespace {pin.module.namespace}`",
        )


def _named(namespaces: Mapping[str, str], registries: Mapping[str, Address]) -> dict[str, Address]:
    known = {DEFAULT_NAME: default_address(), **registries}
    return {namespace: known[name] for namespace, name in namespaces.items()}
