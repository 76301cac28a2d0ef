"""A registry that is only read: a copy of one on any web server (`specs/backends.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NoReturn

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.registry.backends import layout
from modpm.registry.backends.cataloguing import FileCatalogue, Reading
from modpm.registry.backends.layout import NAMESPACES_FILE, REGISTRY_FILE
from modpm.registry.backends.refusals import cannot_list
from modpm.registry.backends.web_server import WebServer
from modpm.registry.index import Index, release_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Published
    from modpm.registry.backends.shards import Shard

_DIGEST = "sha256:"


class StaticRegistry:
    """The files of a registry, on a web server that knows nothing of registries.

    Args:
        url: As for `WebServer`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._server = WebServer(url)
        self._catalogue = FileCatalogue(self, self._read)
        self._has_layout = False
        self._is_by_digest = False
        self._indexes: dict[ModuleName, Index] = {}

    @property
    def location(self) -> str:
        """The URL."""
        return self._url

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that the catalogue has, sorted."""
        return self._catalogue.names(self._counts(namespace))

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        path = layout.index_path(module)
        data = self._server.document(path)
        if data is None:
            self._check_layout()
            return None
        index = Index.from_bytes(data, module, f"{self._url}/{path}")
        self._indexes[module] = index
        return index

    def revision(self, module: ModuleName, version: str) -> str | None:  # noqa: ARG002 -- Backend's
        """Return None: a copy has no commits."""
        return None

    def open_file(
        self,
        module: ModuleName,
        version: str,
        file: str,
        *,
        offset: int = 0,
        revision: str | None = None,  # noqa: ARG002 -- Backend's
    ) -> BinaryIO:
        """Open a file of a release to read its bytes."""
        in_folder = layout.release_path(module, version, file)
        # All files are at one of two places: in the folder of the release, or by their digests.
        for is_by_digest in (self._is_by_digest, not self._is_by_digest):
            path = self._path_by_digest(module, version, file) if is_by_digest else in_folder
            opened = None if path is None else self._server.opened(path, offset)
            if opened is not None:
                self._is_by_digest = is_by_digest
                return opened
        raise layout.missing_file(module, version, f"{self._url}/{in_folder}")

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:  # noqa: ARG002 -- Backend's
        """Refuse: a copy is only read."""
        self._refuse()

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:  # noqa: ARG002 -- Backend's
        """Refuse: a copy is only read."""
        self._refuse()

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules, by the catalogue that was copied."""
        return self._catalogue.shards(self._counts(namespace), seen)

    def reindex(self) -> list[Shard]:
        """Refuse: a copy is only read."""
        self._refuse()

    def _path_by_digest(self, module: ModuleName, version: str, file: str) -> str | None:
        """Return where the file is in a copy of a bucket; None if it is not listed."""
        release = release_in(self._indexes.get(module) or self.index(module), version)
        record = None if release is None else release.all_files.get(file)
        return None if record is None else layout.content_path(record.digest)

    def _counts(self, namespace: str | None) -> dict[str, int]:
        self._check_layout()
        counts = self._catalogue.counts(namespace)
        if counts is None:
            raise cannot_list(
                self._url,
                f"the server has no `{NAMESPACES_FILE}`",
                ", or ask whoever keeps the registry to run `modpm registry reindex` "
                "and to copy it again",
            )
        return counts

    def _read(self, path: str, seen: str | None) -> Reading | None:
        e_tag = None if seen is None or seen.startswith(_DIGEST) else seen
        try:
            data, e_tag = self._server.changed(path, e_tag)
        except FileNotFoundError:
            return None
        # A server that gives no ETag sends all of it, and need not be believed to have changed it.
        state = e_tag if data is None else e_tag or digest_bytes(data)
        return Reading(None if state == seen else data, state)

    def _check_layout(self) -> None:
        if self._has_layout:
            return
        data = self._server.document(REGISTRY_FILE)
        if data is None:
            raise layout.registry_missing(self._url, f"the server has no `{REGISTRY_FILE}` there")
        layout.check_layout(data, self._url)
        self._has_layout = True

    def _refuse(self) -> NoReturn:
        raise ModpmError(
            "this registry is only read",
            code="read-only-registry",
            where=self._url,
            why="it is a copy on a web server",
            hint="publish to the registry that it is a copy of",
        )
