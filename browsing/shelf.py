"""What is browsed: a registry, or folders of distributions read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.shards import Entry, Shard
from modpm.registry.index import Index, Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from modpm.registry.backends.protocol import ReleaseFile


class Shelf(Protocol):
    """The part of a registry's backend that pages are made of; see `Backend`."""

    @property
    def location(self) -> str:
        """Where it is, for people."""

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules, in parts."""

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""

    def open_file(self, file: ReleaseFile) -> BinaryIO:
        """Open a file of a release."""


class Folders:
    """Distributions in folders, listed as a registry lists releases; what is none is told.

    Args:
        location: Where they are, for people.
        folders: The distributions.
    """

    def __init__(self, location: str, folders: Iterable[Path]) -> None:
        self.location = location
        self._folders: dict[tuple[str, str], Path] = {}
        self._problems: dict[Path, ModpmError] = {}
        releases: dict[str, dict[str, Release]] = {}
        for folder in folders:
            try:
                distribution = read_distribution(folder)
                release = Release.of_distribution(distribution)
            except ModpmError as error:
                self._problems[folder] = error
            else:
                name = distribution.manifest.name
                releases.setdefault(name, {})[release.version] = release
                self._folders[name, release.version] = folder
        self._indexes = {
            ModuleName.parse(name): Index(name=name, releases=_ascending(found.values()))
            for name, found in releases.items()
        }

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules, and why folders cannot be read."""
        shards = [
            Shard(str(module), module.namespace, "read", {module.name: Entry.of(index)})
            for module, index in self._indexes.items()
            if namespace in {None, module.namespace}
        ]
        problems = [Shard(str(at), "", "read", {}, why) for at, why in self._problems.items()]
        return [s._replace(entries=None if s.key in seen else s.entries) for s in shards + problems]

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        return self._indexes.get(module)

    def open_file(self, file: ReleaseFile) -> BinaryIO:
        """Open a file of a release.

        Raises:
            ModpmError: `unreadable-file`.
        """
        path = self._folders[str(file.module), file.version] / file.name
        try:
            return path.open("rb")
        except OSError as error:
            raise ModpmError(
                "a file of a module cannot be read",
                code="unreadable-file",
                where=str(path),
                why=error.strerror,
            ) from error


def _ascending(releases: Iterable[Release]) -> list[Release]:
    return sorted(releases, key=lambda release: Version(release.version))
