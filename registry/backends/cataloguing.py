"""Reading and keeping the catalogue of a registry that is made of files (`specs/catalogue.md`)."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.layout import NAMESPACES_FILE
from modpm.registry.backends.shards import (
    DAMAGED,
    MAX_SHARD_BYTES,
    MAX_SHARDS,
    Entries,
    Entry,
    Shard,
    decode_namespaces,
    decode_shard,
    encode_namespaces,
    encode_shard,
    invalid_catalogue,
    plain,
    read_entries,
    shard_of,
    shard_paths,
    split,
)
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Index

N_READERS = 32
"""How many documents are asked for together where a server is far away."""

_NO_ENTRY = "these modules have entries that cannot be used: "


class Reading(NamedTuple):
    """A document, and what names its state; no data if it is in the state that was seen."""

    data: bytes | None
    state: str | None


class _FullError(Exception):
    """A shard would become too large."""


def scanned(
    backend: Backend, namespace: str | None = None, *, is_near: bool = False
) -> list[Shard]:
    """Return the catalogue of a registry that keeps none, by reading every index.

    Args:
        backend: The registry.
        namespace: Only this one; None for all.
        is_near: As for `FileCatalogue`.
    """
    return in_threads(
        partial(scanned_module, backend),
        backend.names(namespace),
        "indexes cannot be read",
        n_threads=N_READERS,
        is_brief=lambda _module: is_near,
    )


def scanned_module(backend: Backend, module: ModuleName) -> Shard:
    """Return the part of a catalogue that is one module, by reading its index."""
    try:
        index = backend.index(module)
    except ModpmError as error:
        if error.code not in DAMAGED:
            raise
        return Shard(str(module), module.namespace, None, {module.name: None}, error)
    entries: Entries = {} if index is None else {module.name: Entry.of(index)}
    return Shard(str(module), module.namespace, None, entries)


class FileCatalogue:
    """The catalogue of a registry that is made of files.

    Args:
        backend: The registry, by whose names and indexes it is made.
        read: Reads a document, given its path and the state that was seen, if one was; gives
            None if it is absent.
        update: Replaces a document by what a function makes of it, unless that is None, and
            loses nobody else's change; not for a registry that is only read.
        is_near: Whether reading costs no time.
    """

    def __init__(
        self,
        backend: Backend,
        read: Callable[[str, str | None], Reading | None],
        update: Callable[[str, Callable[[bytes | None], bytes | None]], None] | None = None,
        *,
        is_near: bool = False,
    ) -> None:
        self._backend = backend
        self._read = read
        self._update = update
        self._is_near = is_near

    # Reading

    def parts(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """Return all parts, as `Backend.catalogue`; made of the indexes where there are none."""
        problems = []
        try:
            counts = self.counts(namespace)
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            counts = None
            problems = [Shard(NAMESPACES_FILE, "", None, {}, error)]
        if counts is not None:
            return self.shards(counts, seen)
        return [*problems, *scanned(self._backend, namespace, is_near=self._is_near)]

    def counts(self, namespace: str | None = None) -> dict[str, int] | None:
        """Return how many shards each namespace has; None if there is no catalogue.

        Raises:
            ModpmError: As `decode_namespaces`.
        """
        reading = self._read(NAMESPACES_FILE, None)
        if reading is None or reading.data is None:
            return None
        counts = decode_namespaces(reading.data, self._where(NAMESPACES_FILE))
        return {each: n for each, n in counts.items() if namespace in {None, each}}

    def shards(self, counts: Mapping[str, int], seen: Mapping[str, str]) -> list[Shard]:
        """Return the shards of some namespaces, those that cannot be used with the reason."""
        places = [
            (namespace, i, n, path)
            for namespace, n in counts.items()
            for i, path in enumerate(shard_paths(namespace, n))
        ]
        answers = in_threads(
            lambda path: self._answer(path, seen.get(path)),
            [path for _, _, _, path in places],
            "documents cannot be read",
            n_threads=N_READERS,
            is_brief=lambda _path: self._is_near,
        )
        return [self._shard(*at, answer) for at, answer in zip(places, answers, strict=True)]

    def names(self, counts: Mapping[str, int]) -> list[ModuleName]:
        """Return the modules that some namespaces have, sorted.

        Raises:
            ModpmError: As `decode_shard`: a list that is not whole is none.
        """
        found: list[ModuleName] = []
        for shard in self.shards(counts, {}):
            if shard.problem is not None and not shard.entries:
                raise shard.problem
            found += [ModuleName(shard.namespace, name) for name in shard.entries or ()]
        return sorted(found)

    def _answer(self, path: str, seen: str | None) -> Reading | ModpmError:
        try:
            return self._read(path, seen) or invalid_catalogue(self._where(path), "it is missing")
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            return error

    def _shard(
        self, namespace: str, i: int, n: int, path: str, answer: Reading | ModpmError
    ) -> Shard:
        if isinstance(answer, ModpmError):
            return Shard(path, namespace, None, {}, answer)
        if answer.data is None:
            return Shard(path, namespace, answer.state, None)
        where = self._where(path)
        try:
            entries, damaged = read_entries(decode_shard(answer.data, where))
        except ModpmError as error:
            return Shard(path, namespace, None, {}, error)
        entries = {name: one for name, one in entries.items() if shard_of(name, n) == i}
        if not damaged:
            return Shard(path, namespace, answer.state, entries)
        why = f"{_NO_ENTRY}{', '.join(sorted(damaged))}"
        return Shard(path, namespace, None, entries, invalid_catalogue(where, why))

    def _where(self, path: str) -> str:
        return f"{self._backend.location}/{path}"

    # Writing

    def note(self, indexes: Iterable[Index]) -> None:
        """Bring the entries of modules up to their indexes, which are in their places.

        What is missing or damaged of the catalogue is made anew, and a shard that becomes too
        large is split by that, too.
        """
        try:
            counts = self.counts()
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            counts = None
        if counts is None:
            self.rebuild()
            return
        by_namespace: dict[str, Entries] = {}
        for index in indexes:
            module = ModuleName.parse(index.name)
            by_namespace.setdefault(module.namespace, {})[module.name] = Entry.of(index)
        for namespace, entries in sorted(by_namespace.items()):
            n = counts.get(namespace)
            if n is None or not self._note(namespace, n, entries):
                self.rebuild(namespace)

    def rebuild(self, namespace: str | None = None) -> list[Shard]:
        """Make the catalogue anew, or the part of a namespace.

        Returns:
            What was read of each module.
        """
        modules = scanned(self._backend, namespace, is_near=self._is_near)
        counts = {}
        for each, shards in groupby(modules, lambda shard: shard.namespace):
            entries: Entries = {}
            for shard in shards:
                entries.update(shard.entries or {})
            counts[each] = self._write(each, entries)
        self._changed(NAMESPACES_FILE, partial(self._with_counts, namespace, counts))
        return modules

    def _note(self, namespace: str, n: int, entries: Entries) -> bool:
        """Replace entries in their shards; say whether it could be done."""
        paths = shard_paths(namespace, n)
        try:
            for path, some in zip(paths, split(entries, n), strict=True):
                if some:
                    self._changed(path, partial(self._merged, path, some))
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            return False
        except _FullError:
            return n == MAX_SHARDS
        return True

    def _merged(self, path: str, entries: Entries, data: bytes | None) -> bytes:
        where = self._where(path)
        if data is None:
            raise invalid_catalogue(where, "it is missing")
        merged = encode_shard({**decode_shard(data, where), **plain(entries)})
        if len(merged) > MAX_SHARD_BYTES:
            raise _FullError
        return merged

    def _write(self, namespace: str, entries: Entries) -> int:
        """Write the shards of a namespace, half full at most; return how many there are."""
        for n in _numbers_of_shards():
            shards = [encode_shard(plain(some)) for some in split(entries, n)]
            if max(map(len, shards)) <= MAX_SHARD_BYTES // 2:
                break
        for path, shard in zip(shard_paths(namespace, n), shards, strict=True):
            self._changed(path, partial(_replaced_by, shard))
        return n

    def _with_counts(
        self, namespace: str | None, counts: Mapping[str, int], data: bytes | None
    ) -> bytes:
        if namespace is None or data is None:
            return encode_namespaces(counts)
        listed = decode_namespaces(data, self._where(NAMESPACES_FILE))
        return encode_namespaces({**listed, **counts})

    def _changed(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        def changed(data: bytes | None) -> bytes | None:
            new = change(data)
            return None if new == data else new

        assert self._update is not None, "a registry that is only read has no changes"
        self._update(path, changed)


def _replaced_by(new: bytes, _data: bytes | None) -> bytes:
    return new


def _numbers_of_shards() -> Iterator[int]:
    return (2**i for i in range(MAX_SHARDS.bit_length()))
