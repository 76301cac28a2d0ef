"""What registries that are made of files have in common: folders, buckets, and copies of them.

All hold the same documents and files at the same paths (`specs/backends.md`), the catalogue among
them (`specs/catalogue.md`). A kind says how one is read, opened and replaced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.system.threads import in_threads
from modpm.registry.backends import layout
from modpm.registry.backends.layout import NAMESPACES_FILE, REGISTRY_FILE
from modpm.registry.backends.refusals import not_listed
from modpm.registry.backends.shards import (
    MAX_SHARD_BYTES,
    MAX_SHARDS,
    N_READERS,
    Shard,
    decode_counts,
    decode_shard,
    encode_counts,
    encode_shard,
    invalid_catalogue,
    plain,
    read_entries,
    scanned,
    shard_of,
    shard_paths,
    unless_damaged,
)
from modpm.registry.index import Index, release_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from modpm.core.formats import canonical_json
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import ReleaseFile

_NAMES_IN_SHARD = 2000
"""Of those that are made anew: more names make more shards."""


class Reading(NamedTuple):
    """A document, and what names its state; no data if it is in the state that was seen."""

    data: bytes | None
    state: str | None


class _FullError(Exception):
    """A shard would become too large."""


class FileRegistry(ABC):
    """A registry of documents and files at paths."""

    is_near: ClassVar[bool] = False
    """Whether reading costs no time."""

    def __init__(self, location: str, *, is_by_digest: bool = False) -> None:
        self.location = location
        self._is_by_digest = is_by_digest
        self._has_layout = False
        self._indexes: dict[ModuleName, Index] = {}

    @abstractmethod
    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that have an index, sorted."""

    @abstractmethod
    def _read(self, path: str, seen: str | None = None) -> Reading | None:
        """Read a document, if its state is not what was seen; None if it is absent."""

    @abstractmethod
    def _open(self, path: str, offset: int) -> BinaryIO | None:
        """Open a file; None if it is absent."""

    @abstractmethod
    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a document unless `change` leaves it as it is, and lose nobody else's change."""

    def _writing(self) -> AbstractContextManager[None]:
        """Return what must be held while documents are replaced."""
        return nullcontext()

    def index(self, module: ModuleName) -> Index | None:
        """Return what is listed for a name; None if nothing is."""
        data = self._document(layout.index_path(module))
        if data is None:
            self._check_layout()
            return None
        self._indexes[module] = self._parsed(data, module)
        return self._indexes[module]

    def revision(self, module: ModuleName, version: str) -> str | None:  # noqa: ARG002 -- Backend's
        """Return None: there are no commits."""
        return None

    def open_file(self, file: ReleaseFile, offset: int = 0) -> BinaryIO:
        """Open a file of a release to read its bytes."""
        in_folder = layout.release_path(file.module, file.version, file.name)
        # All files are at one of two places: in the folder of the release, or by their digests.
        for is_by_digest in (self._is_by_digest, not self._is_by_digest):
            path = self._path_by_digest(file) if is_by_digest else in_folder
            opened = None if path is None else self._open(path, offset)
            if opened is not None:
                self._is_by_digest = is_by_digest
                return opened
        raise layout.missing_file(file.module, file.version, self._where(in_folder))

    def change(self, module: ModuleName, change: Callable[[Index], Index]) -> Index:
        """Change what is listed for a name; once more, on its new state, if it has changed."""

        def change_listed(listed: Index | None) -> Index:
            if listed is None:
                raise not_listed(module, self.location)
            return change(listed)

        with self._writing():
            changed = self._update_index(module, change_listed)
            self._note([module])
        return changed

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return what is shown of the modules; made of the indexes where there is no catalogue."""
        self._check_layout()
        counts, problem = unless_damaged(partial(self._counts, namespace))
        if counts is not None:
            return self._shards(counts, seen)
        problems = [] if problem is None else [Shard(NAMESPACES_FILE, "", None, {}, problem)]
        return [*problems, *self._scanned(self.names(namespace))]

    def reindex(self) -> list[Shard]:
        """Make the catalogue anew."""
        with self._writing():
            self._check_layout()
            return self._rebuild()

    # Documents

    def _document(self, path: str) -> bytes | None:
        reading = self._read(path)
        return None if reading is None else reading.data

    def _check_layout(self) -> None:
        if not self._has_layout:
            data = self._document(REGISTRY_FILE)
            if data is None:
                raise self._missing()
            layout.check_layout(data, self.location)
            self._has_layout = True

    def _missing(self) -> ModpmError:
        return layout.registry_missing(self.location, f"it has no `{REGISTRY_FILE}`")

    def _parsed(self, data: bytes, module: ModuleName) -> Index:
        return Index.from_bytes(data, module, self._where(layout.index_path(module)))

    def _path_by_digest(self, file: ReleaseFile) -> str | None:
        """Return where a file is by its digest; the index is read where that is not known yet."""
        release = release_in(self._indexes.get(file.module), file.version)
        release = release or release_in(self.index(file.module), file.version)
        record = None if release is None else release.all_files.get(file.name)
        return None if record is None else layout.content_path(record.digest)

    def _update_index(self, module: ModuleName, change: Callable[[Index | None], Index]) -> Index:
        changed = None

        def changed_bytes(data: bytes | None) -> bytes | None:
            nonlocal changed
            if data is None:
                self._check_layout()
            listed = None if data is None else self._parsed(data, module)
            changed = change(listed)
            if changed == listed:
                return data
            changed = changed.after(listed)
            return changed.to_bytes()

        self._update(layout.index_path(module), changed_bytes)
        assert changed is not None
        self._indexes[module] = changed
        return changed

    def _where(self, path: str) -> str:
        return f"{self.location}/{path}"

    # Reading the catalogue

    def _counts(self, namespace: str | None = None) -> dict[str, int] | None:
        """Return how many shards each namespace has; None if there is no catalogue."""
        data = self._document(NAMESPACES_FILE)
        if data is None:
            return None
        counts = decode_counts(data, self._where(NAMESPACES_FILE))
        return {each: n for each, n in counts.items() if namespace in {None, each}}

    def _shards(self, counts: Mapping[str, int], seen: Mapping[str, str]) -> list[Shard]:
        """Return the shards of some namespaces, those that cannot be used with the reason."""
        places = [
            (Shard(path, namespace, None, {}), i, n)
            for namespace, n in counts.items()
            for i, path in enumerate(shard_paths(namespace, n))
        ]
        return in_threads(
            lambda place: self._shard(*place, seen.get(place[0].key)),
            places,
            "documents cannot be read",
            n_threads=N_READERS,
            is_brief=lambda _place: self.is_near,
        )

    def _shard(self, shard: Shard, i: int, n: int, seen: str | None) -> Shard:
        """Return a shard, the one of this number of so many, with what is read of it."""
        where = self._where(shard.key)
        reading, problem = unless_damaged(partial(self._read, shard.key, seen))
        if reading is None:
            return shard._replace(problem=problem or invalid_catalogue(where, "it is missing"))
        if reading.data is None:
            return shard._replace(state=reading.state, entries=None)
        modules, problem = unless_damaged(partial(decode_shard, reading.data, where))
        if modules is None:
            return shard._replace(problem=problem)
        entries, damaged = read_entries(modules)
        entries = {name: one for name, one in entries.items() if shard_of(name, n) == i}
        if damaged:
            why = f"the entries of these modules cannot be used: {', '.join(sorted(damaged))}"
            return shard._replace(entries=entries, problem=invalid_catalogue(where, why))
        return shard._replace(state=reading.state, entries=entries)

    def _scanned(self, modules: Sequence[ModuleName]) -> list[Shard]:
        return scanned(self.index, modules, is_near=self.is_near)

    # Keeping the catalogue

    def _note(self, modules: Iterable[ModuleName]) -> None:
        """Bring the entries of modules up to their indexes, which are in their places.

        What is missing or damaged of the catalogue is made anew, and a namespace with a shard
        that becomes too large is split by that, too.
        """
        counts, _ = unless_damaged(self._counts)
        if counts is None:
            self._rebuild()
            return
        for namespace, some in groupby(sorted(set(modules)), attrgetter("namespace")):
            n_shards = counts.get(namespace)
            if n_shards is None:
                self._rebuild(namespace)
                continue
            try:
                _, damage = unless_damaged(partial(self._merge, namespace, n_shards, list(some)))
                if damage is not None:
                    self._rebuild(namespace, n_shards)
            except _FullError:
                self._rebuild(namespace, 2 * n_shards)

    def _rebuild(self, namespace: str | None = None, n_shards: int = 1) -> list[Shard]:
        """Make the catalogue anew, or a namespace in so many shards; return what was read."""
        read: dict[str, Shard] = {}
        counts = {
            each: self._write_shards(each, len(list(some)), n_shards, read)
            for each, some in groupby(self.names(namespace), attrgetter("namespace"))
        }

        def with_counts(data: bytes | None) -> bytes:
            merged = dict(counts)
            with suppress(ModpmError):  # what is damaged is made anew
                merged = {**decode_counts(data or b"", ""), **counts}
            if namespace is None:
                there = {module.namespace for module in self.names()}
                merged = {each: n for each, n in merged.items() if each in there}
            return encode_counts(merged)

        self._update(NAMESPACES_FILE, with_counts)
        return list(read.values())

    # A shard is read, or known to be made anew, before the indexes are: whoever changes one
    # meanwhile replaces the shard after us, or has done so, and then we begin again.

    def _merge(self, namespace: str, n: int, modules: Sequence[ModuleName]) -> None:
        """Bring entries of a namespace, which has so many shards, up to date."""
        paths = shard_paths(namespace, n)

        def merged(data: bytes | None, i: int) -> bytes:
            where = self._where(paths[i])
            if data is None:
                raise invalid_catalogue(where, "it is missing")
            some = [module for module in modules if shard_of(module.name, n) == i]
            return _encoded(decode_shard(data, where), self._scanned(some), n)

        for i in sorted({shard_of(module.name, n) for module in modules}):
            self._update(paths[i], partial(merged, i=i))

    def _write_shards(self, namespace: str, n_names: int, n: int, read: dict[str, Shard]) -> int:
        """Make the shards of a namespace anew; return how many there are."""
        while n * _NAMES_IN_SHARD < n_names and n < MAX_SHARDS:
            n *= 2

        def anew(_data: bytes | None, i: int) -> bytes:
            names = self.names(namespace)
            shards = self._scanned([each for each in names if shard_of(each.name, n) == i])
            read.update({shard.key: shard for shard in shards})
            return _encoded({}, shards, n)

        try:
            for i, path in enumerate(shard_paths(namespace, n)):
                self._update(path, partial(anew, i=i))
        except _FullError:
            return self._write_shards(namespace, n_names, 2 * n, read)
        return n


def _encoded(
    listed: Mapping[str, canonical_json.Json], read: Iterable[Shard], n_shards: int
) -> bytes:
    """Return a shard with what was read of modules in place of what is listed of them."""
    entries = {name: one for shard in read for name, one in (shard.entries or {}).items()}
    encoded = encode_shard({**listed, **plain(entries)})
    if len(encoded) > MAX_SHARD_BYTES and n_shards < MAX_SHARDS:
        raise _FullError
    return encoded
