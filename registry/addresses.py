"""The addresses of registries: how they are written, and which a command uses."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.names import normalise
from modpm.registry.directory import DirectoryRegistry
from modpm.registry.home import home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.backend import Backend

DEFAULT_NAME = "default"


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registry as `modpm.toml` and `modpm.lock` name it.

    Attributes:
        name: What the project calls it.
        url: A path, relative to the project, or a `file://` URL.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

    def open(self, base: Path) -> Backend:
        """Return the registry; nothing is read yet.

        Args:
            base: What a relative path is relative to.

        Raises:
            ModpmError: `unknown-registry-kind`.
        """
        return DirectoryRegistry(self.folder(base))

    def folder(self, base: Path) -> Path:
        """Return the folder that the registry is, whichever way it is written.

        Raises:
            ModpmError: `unknown-registry-kind`.
        """
        return Path(os.path.normpath(base / _path(self.url)))


def given_address(
    registry: str | os.PathLike[str], project: Path, of_project: Sequence[Address] = ()
) -> Address:
    """Return the address of a registry that a user names.

    Args:
        registry: A URL, or a path relative to the current folder.
        project: The project's root; a registry inside it is addressed relative to it.
        of_project: The registries that the project names; one that is meant keeps its name.
    """
    folder = Path(os.path.normpath(Path(_path(os.fspath(registry))).absolute()))
    for address in of_project:
        if address.folder(project) == folder:
            return address
    inside = folder.is_relative_to(project)
    url = folder.relative_to(project).as_posix() if inside else folder.as_posix()
    return Address(_free_name(folder, {address.name for address in of_project}), url)


def environment_address(project: Path, of_project: Sequence[Address] = ()) -> Address | None:
    """Return the address of the registry that `MODPM_REGISTRY` names, if it does."""
    named = os.environ.get("MODPM_REGISTRY")
    return given_address(named, project, of_project) if named else None


def default_address() -> Address:
    """Return the address of the registry under `MODPM_HOME`."""
    return Address(DEFAULT_NAME, (home() / "registry").as_posix())


def addresses(
    given: Address | None, project: Path, of_project: Sequence[Address]
) -> tuple[Address, ...]:
    """Return the registries to look in, the first first, each once.

    The one that a command names, else the one of `MODPM_REGISTRY`, goes before those of the
    project; the default registry is used where no other is named.
    """
    first = given or environment_address(project, of_project)
    found = [address for address in (first, *of_project) if address is not None]
    return tuple(dict.fromkeys(found)) or (default_address(),)


def publish_target(registry: str | os.PathLike[str] | None) -> Backend:
    """Return the registry to publish to: the given, else `MODPM_REGISTRY`, else the default."""
    here = Path.cwd()
    address = None if registry is None else given_address(registry, here)
    return (address or environment_address(here) or default_address()).open(here)


def _path(url: str) -> str:
    if "://" not in url:
        return str(Path(url).expanduser())
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return unquote(parts.path)
    raise ModpmError(
        f"`{url[:200]}` is not a kind of registry that modpm knows",
        code="unknown-registry-kind",
        hint="name a folder: a path, or a `file://` URL",
        exit_code=2,
    )


def _free_name(folder: Path, taken: set[str]) -> str:
    try:
        name = normalise(folder.name)
    except ModpmError:
        name = "registry"
    names = (name if i == 1 else f"{name[:60]}-{i}" for i in count(1))
    return next(free for free in names if free not in taken)
