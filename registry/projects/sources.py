"""The registries of a project, and which of them a namespace belongs to (W-4, W-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.system.home import named_path, user_folder
from modpm.registry.addresses import (
    DEFAULT_NAME,
    Address,
    default_address,
    environment_address,
    given_addresses,
    known_address,
)
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.project import Registered, parse_registered, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from modpm.registry.addresses import Registries
    from modpm.registry.catalogue import RegistryCatalogue
    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Project, Wishes


class Sources(NamedTuple):
    """The registries that modules may come from.

    Attributes:
        root: What their relative paths are relative to.
        given: Those that the user names now.
        usable: All of them, the first first.
        ranked: All of them in the order of the project, those that the user names now last.
        bound: The registries that namespaces belong to, as the project says.
        preferred: The same as the user says, for namespaces of which the project says nothing.
    """

    root: Path
    given: tuple[Address, ...]
    usable: tuple[Address, ...]
    ranked: tuple[Address, ...]
    bound: Mapping[str, Address]
    preferred: Mapping[str, Address]

    @classmethod
    def of(cls, place: Project, wishes: Wishes, registries: Registries = None) -> Sources:
        """Return the registries of a project, after those that the user names now.

        Raises:
            ModpmError: `invalid-project`, for settings of the user; `unknown-registry-kind`;
                `not-unicode`.
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
        usable = tuple(known) or (default_address(),)
        _refuse_other_texts(usable)
        return cls(
            place.root,
            given,
            usable,
            tuple(dict.fromkeys([*wishes.registries, *usable])),
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

    def problems(self, pins: Iterable[Pin]) -> dict[str, str]:
        """Return for namespaces which pins are not from the registry that they belong to.

        Pins of a namespace of which the project says nothing must be from one of its registries.
        """
        owners, found = dict(self.bound), dict[str, str]()
        for pin in pins:
            namespace, owner = pin.module.namespace, self.owner(pin)
            if owner is not None and owners.setdefault(namespace, owner) == owner:
                continue
            other = owners.get(namespace)
            belongs = "which is no registry of the project"
            if other is not None:
                belongs = f"and `{namespace}` belongs to {self._in_words(other)}"
            found[namespace] = (
                f"`{pin.module}` is locked from {self._in_words(pin.registry)}, {belongs}"
            )
        return found

    def catalogue(self, pins: Sequence[Pin], named: Iterable[str] = ()) -> RegistryCatalogue:
        """Return everything that is listed, for a project with these pins.

        Namespaces of which it says nothing stay with the registries of the pins. Registries that
        the user names go first for what is named with them alone, and last for all else.
        """
        from modpm.registry.catalogue import RegistryCatalogue  # noqa: PLC0415 -- slow to import

        refused = {
            namespace: self._other_registry(namespace, why)
            for namespace, why in self.problems(pins).items()
            if namespace not in self.bound
        }
        first = dict.fromkeys(named, self.given)
        return RegistryCatalogue(self.ranked, self.root, self._owners(pins), first, refused)

    def learned(self, pins: Sequence[Pin]) -> Edit:
        """Return what `modpm.toml` does not say yet: which registries namespaces belong to."""
        owners, new = self._owners(pins), {pin.module.namespace for pin in pins} - self.bound.keys()
        added = dict.fromkeys(owners[namespace] for namespace in sorted(new))
        return Edit(
            registries=tuple(address for address in added if address != default_address()),
            namespaces={namespace: owners[namespace].name for namespace in new},
        )

    def check_given(self, namespaces: Iterable[str], pins: Sequence[Pin]) -> None:
        """Check that what is asked for by name does not belong to another registry than is named.

        Raises:
            ModpmError: `other-registry`.
        """
        owners = self._owners(pins)
        for namespace in namespaces:
            owner = owners.get(namespace)
            if self.given and owner is not None and owner not in self.given:
                raise self._other_registry(namespace, f"it belongs to {self._in_words(owner)}")

    def _owners(self, pins: Sequence[Pin]) -> dict[str, Address]:
        of_pins = {pin.module.namespace: self.owner(pin) or pin.registry for pin in pins}
        return {**self.preferred, **of_pins, **self.bound}

    def _other_registry(self, namespace: str, why: str) -> ModpmError:
        return ModpmError(
            f"`{namespace}` would come from another registry than the one that it belongs to",
            code="other-registry",
            where=str(self.root),
            why=why,
            hint="let it come from the registry that it belongs to; if it has moved, run "
            f"`modpm lock --registry URL --move-namespace {namespace}`",
        )

    def _in_words(self, address: Address) -> str:
        return f"`{address.name}` ({address.location(self.root)})"


def user_settings() -> Registered:
    """Read the user's registries, and the namespaces that belong to them, for all projects (W-16).

    They are in what `MODPM_CONFIG` names, or else `config.toml` of the user's configuration, in
    which no path is relative; without the file there are none.

    Raises:
        ModpmError: `invalid-project`, naming the file.
    """
    path = named_path("MODPM_CONFIG") or user_folder("config") / "config.toml"
    content = read(path)
    if content is None:
        return Registered()
    hint = "correct the file: it is yours, and holds for every project"
    settings = parse_registered(Registered, content, path, hint)
    there = tuple(Address(a.name, a.location(path.parent)) for a in settings.registries)
    return msgspec.structs.replace(settings, registries=there)


def _refuse_other_texts(addresses: Iterable[Address]) -> None:
    """Refuse what no file of a project can hold: they are UTF-8, and paths need not be."""
    for address in addresses:
        try:
            address.url.encode()
        except UnicodeEncodeError:
            raise ModpmError(
                "the path of a registry is not UTF-8",
                code="not-unicode",
                where=address.url,
                why="`modpm.toml` and `modpm.lock` are, and have to name it",
                hint="rename the folder, or reach it by a link whose path is UTF-8",
            ) from None


def _named(namespaces: Mapping[str, str], registries: Mapping[str, Address]) -> dict[str, Address]:
    known = {DEFAULT_NAME: default_address(), **registries}
    return {namespace: known[name] for namespace, name in namespaces.items()}
