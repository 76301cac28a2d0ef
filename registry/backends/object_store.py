"""A registry in a bucket of an object store (`specs/backends.md`).

Files are named by their digests, so that writers of one version never mix theirs. A version
belongs to whoever gets it into the index first; an index is replaced only by a writer that has
read its last state.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import in_threads
from modpm.registry.backends import layout, streaming
from modpm.registry.backends.bucket import Bucket, Document
from modpm.registry.backends.file_registry import FileRegistry, Reading
from modpm.registry.backends.layout import REGISTRY_FILE
from modpm.registry.backends.publishing_plan import (
    Entry,
    in_waves,
    listed_with,
    planned_by_module,
)
from modpm.registry.backends.retrying import busy, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.backends.protocol import Published


class ObjectStoreRegistry(FileRegistry):
    """A registry in a bucket, of S3 and what speaks it, of Google's store or Azure's."""

    def __init__(self, url: str) -> None:
        super().__init__(url, is_by_digest=True)
        self._bucket = Bucket(url)
        self._obeys_conditions = False

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules, sorted: folders are listed, and not what is in them."""
        self._check_layout()
        namespaces = self._names_in(None) if namespace is None else [namespace]
        listed = in_threads(self._names_in, namespaces, "names cannot be listed")
        pairs = zip(namespaces, listed, strict=True)
        return [ModuleName(space, name) for space, names in pairs for name in names]

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:
        """Publish distributions that have been verified.

        All are checked and uploaded before the first is listed. What another writer does after
        the check can leave some listed and others not; publishing again goes on there.
        """
        self._make_layout()
        self._check_conditions()
        entries, groups = planned_by_module(distributions, self.index, self.location)
        in_threads(self._upload, _files(chain(*groups)), "files cannot be uploaded")

        def publish(group: Sequence[Entry]) -> None:
            # They may be there, but not others.
            self._update_index(group[0].module, lambda i: listed_with(group, i, self.location))

        in_waves(publish, groups, "modules cannot be published")
        # Also of what was published before: the catalogue may lack that.
        self._note(entry.module for entry in entries)
        return [self._published(entry) for entry in entries]

    def _upload(self, file: tuple[Path, FileRecord]) -> None:
        path, record = file
        self._bucket.upload(layout.content_path(record.digest), path, record)

    def _read(self, path: str, seen: str | None = None) -> Reading | None:
        document = self._bucket.document(path, seen)
        return document and Reading(document.data, document.state.get("e_tag"))

    def _open(self, path: str, offset: int) -> BinaryIO | None:
        try:
            return streaming.opened(self._bucket.pieces(path, offset), self.location)
        except FileNotFoundError:
            return None

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a document; it is read and changed again while other writers are faster."""
        for _ in turns():
            seen = self._bucket.document(path)
            data = None if seen is None else seen.data
            changed = change(data)
            if changed in {None, data} or self._bucket.replace(path, changed, seen):
                return
        raise busy(self._where(path))

    def _names_in(self, namespace: str | None) -> list[str]:
        return sorted(filter(layout.is_name, self._bucket.folder(namespace).folders))

    def _make_layout(self) -> None:
        """Make the bucket a registry, unless it holds something else."""
        if self._has_layout:
            return
        document = self._bucket.document(REGISTRY_FILE)
        if document is None:
            found = self._bucket.folder(None)
            if (found.folders or found.objects) and REGISTRY_FILE not in found.objects:
                raise layout.not_a_registry(self.location, "it holds other objects")
            self._bucket.replace(REGISTRY_FILE, layout.LAYOUT, None)
        self._check_layout()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_layout()
        self._check_conditions()
        yield

    def _check_conditions(self) -> None:
        """Refuse a store that writes whatever the condition: what others published would be lost.

        Once for each client, by writes that must fail, and would change nothing (B-5).
        """
        if self._obeys_conditions:
            return
        other = Document(b"", {"e_tag": '"0123456789abcdef0123456789abcdef"'})
        for seen in (None, other):
            if self._bucket.replace(REGISTRY_FILE, layout.LAYOUT, seen):
                raise ModpmError(
                    "the object store cannot hold a registry",
                    code="no-conditional-writes",
                    where=self.location,
                    why="it takes a write on a condition that is not met, so that writers would "
                    "lose each other's releases",
                    hint="use a store that has conditional writes, or turn them on; one that only "
                    "reads is fine as it is",
                )
        self._obeys_conditions = True

    def _published(self, entry: Entry) -> Published:
        release = self._indexes[entry.module].find(entry.release.version)
        is_new = entry.is_new and release == entry.release
        return entry.published(self.location, is_new=is_new)


def _files(entries: Iterable[Entry]) -> list[tuple[Path, FileRecord]]:
    """Return every file of the entries once."""
    files = {
        record.digest: (entry.distribution.folder / name, record)
        for entry in entries
        for name, record in entry.release.all_files.items()
    }
    return list(files.values())
