"""The addresses of registries: how they are written, and which a command uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.names import normalize
from modpm.core.system.home import home
from modpm.registry.backends.opening import is_remote, locate, open_backend

if TYPE_CHECKING:
    from modpm.registry.backends.protocol import Backend

DEFAULT_NAME = "default"
"""What every user's registry under `MODPM_HOME` is called."""

RegistryName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

Place = str | os.PathLike[str]
Registries = Place | Sequence[Place] | None
"""The registries that a user names: none, one, or several, the first first."""


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registry as `modpm.toml` and `modpm.lock` name it; a path is relative to the project."""

    name: RegistryName
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

    def open(self, base: Path) -> Backend:
        """Return the registry, whose path may be relative to `base`; nothing is read yet.

        Raises:
            ModpmError: `unknown-registry-kind`.
        """
        return open_backend(self.location(base))

    def location(self, base: Path) -> str:
        """Return the registry's absolute path or URL, however it is written.

        Raises:
            ModpmError: `unknown-registry-kind`.
        """
        return locate(self.url, base)


def given_address(
    registry: str | os.PathLike[str], project: Path, of_project: Sequence[Address] = ()
) -> Address:
    """Return the address of a registry that a user names.

    A path that is relative to the current folder, or leads into the project, is addressed relative
    to that; a registry that the project names already keeps its name.
    """
    text = os.fspath(registry)
    location = locate(text, Path.cwd())
    is_relative = "://" not in text and not text.startswith(("/", "~"))
    url = location if is_remote(location) else Path(location).as_posix()
    if not is_remote(location) and (is_relative or Path(location).is_relative_to(project)):
        url = Path(os.path.relpath(location, project)).as_posix()
    return known_address(Address(_name(location), url), project, of_project)


def known_address(address: Address, project: Path, known: Sequence[Address]) -> Address:
    """Return an address as called beside others: as one of the same place, or by a free name."""
    location = address.location(project)
    for other in known:
        if other.location(project) == location:
            return other
    taken = {DEFAULT_NAME, *(other.name for other in known)}
    names = (address.name if i == 1 else f"{address.name[:60]}-{i}" for i in count(1))
    return Address(next(name for name in names if name not in taken), address.url)


def given_addresses(
    registries: Registries, project: Path, of_project: Sequence[Address] = ()
) -> tuple[Address, ...]:
    """Return the addresses of the registries that a user names, each as `given_address` does."""
    if registries is None or isinstance(registries, str | os.PathLike):
        registries = () if registries is None else (registries,)
    found: list[Address] = []
    for registry in registries:
        found.append(given_address(registry, project, [*of_project, *found]))
    return tuple(dict.fromkeys(found))


def environment_address(project: Path, of_project: Sequence[Address] = ()) -> Address | None:
    """Return the address of the registry that `MODPM_REGISTRY` names, if it does."""
    named = os.environ.get("MODPM_REGISTRY")
    return given_address(named, project, of_project) if named else None


def default_address() -> Address:
    """Return the address of the registry under `MODPM_HOME`."""
    return Address(DEFAULT_NAME, (home() / "registry").as_posix())


def publish_target(registry: str | os.PathLike[str] | None) -> Backend:
    """Return the registry to publish to: the given, else `MODPM_REGISTRY`, else the default."""
    here = Path.cwd()
    address = None if registry is None else given_address(registry, here)
    return (address or environment_address(here) or default_address()).open(here)


def _name(location: str) -> str:
    try:
        return normalize(location.rstrip("/").rpartition("/")[2])
    except ModpmError:
        return "registry"
