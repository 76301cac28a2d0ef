"""A registry that is only read: a copy of one on any web server (`specs/backends.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NoReturn

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.file_registry import FileRegistry, Reading
from modpm.registry.backends.layout import NAMESPACES_FILE
from modpm.registry.backends.refusals import cannot_list
from modpm.registry.backends.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Published

_DIGEST = "sha256:"


class StaticRegistry(FileRegistry):
    """The files of a registry, on a web server that knows nothing of registries.

    Args:
        url: As for `WebServer`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._server = WebServer(url)

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that the catalogue has, sorted: a list that is not whole is none."""
        self._check_layout()
        counts = self._counts(namespace)
        if counts is None:
            raise cannot_list(
                self.location,
                f"the server has no `{NAMESPACES_FILE}`",
                ", or ask whoever keeps the registry to run `modpm registry reindex` "
                "and to copy it again",
            )
        found: list[ModuleName] = []
        for shard in self._shards(counts, {}):
            if shard.problem is not None and not shard.entries:
                raise shard.problem
            found += [ModuleName(shard.namespace, name) for name in shard.entries or ()]
        return sorted(found)

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:  # noqa: ARG002 -- Backend's
        """Refuse: a copy is only read."""
        self._writing()

    def _read(self, path: str, seen: str | None = None) -> Reading | None:
        e_tag = None if seen is None or seen.startswith(_DIGEST) else seen
        try:
            data, e_tag = self._server.changed(path, e_tag)
        except FileNotFoundError:
            return None
        # A server that gives no ETag sends all of it, and need not be believed to have changed it.
        state = e_tag if data is None else e_tag or digest_bytes(data)
        return Reading(None if state == seen else data, state)

    def _open(self, path: str, offset: int) -> BinaryIO | None:
        return self._server.opened(path, offset)

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:  # noqa: ARG002 -- its base's
        self._writing()

    def _writing(self) -> NoReturn:
        raise ModpmError(
            "this registry is only read",
            code="read-only-registry",
            where=self.location,
            why="it is a copy on a web server",
            hint="publish to the registry that it is a copy of",
        )
