"""Reading and keeping the catalogue of a registry that is made of files (`specs/catalogue.md`)."""

from __future__ import annotations

from contextlib import suppress
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
)
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from modpm.core.formats import canonical_json
    from modpm.registry.backends.protocol import Backend

N_READERS = 32
"""How many documents are asked for together where a server is far away."""

_NAMES_IN_SHARD = 2000
"""Of those that are made anew: more names make more shards."""

_NO_ENTRY = "these modules have entries that cannot be used: "


class Reading(NamedTuple):
    """A document, and what names its state; no data if it is in the state that was seen."""

    data: bytes | None
    state: str | None


class _FullError(Exception):
    """A shard would become too large."""


def scanned(
    backend: Backend, modules: Sequence[ModuleName], *, is_near: bool = False
) -> list[Shard]:
    """Return what a catalogue says of modules, by reading the index of each.

    Args:
        backend: The registry.
        modules: The modules.
        is_near: As for `FileCatalogue`.
    """
    return in_threads(
        partial(scanned_module, backend),
        modules,
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
        return [*problems, *self._scanned(self._backend.names(namespace))]

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

    def _scanned(self, modules: Sequence[ModuleName]) -> list[Shard]:
        return scanned(self._backend, modules, is_near=self._is_near)

    # Writing

    def note(self, modules: Iterable[ModuleName]) -> None:
        """Bring the entries of modules up to their indexes, which are in their places.

        What is missing or damaged of the catalogue is made anew, and a namespace with a shard
        that becomes too large is split by that, too.
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
        for namespace, some in groupby(sorted(set(modules)), _namespace):
            n_shards = self._note(namespace, counts.get(namespace), list(some))
            if n_shards is not None:
                self.rebuild(namespace, n_shards)

    def rebuild(self, namespace: str | None = None, n_shards: int = 1) -> list[Shard]:
        """Make the catalogue anew, or the part of a namespace.

        Args:
            namespace: The namespace; None for all.
            n_shards: How many shards each has at least.

        Returns:
            What was read of each module.
        """
        read: dict[str, Shard] = {}
        counts = {
            each: self._write(each, len(list(some)), n_shards, read)
            for each, some in groupby(self._backend.names(namespace), _namespace)
        }
        self._changed(NAMESPACES_FILE, partial(self._with_counts, namespace, counts))
        return list(read.values())

    def _note(self, namespace: str, n: int | None, modules: Sequence[ModuleName]) -> int | None:
        """Bring entries in their shards up to date.

        Returns:
            None; where that cannot be done, how many shards must be made anew.
        """
        if n is None:
            return 1
        try:
            for i in sorted({shard_of(module.name, n) for module in modules}):
                some = [module for module in modules if shard_of(module.name, n) == i]
                self._changed(
                    shard_paths(namespace, n)[i], partial(self._merged, namespace, i, n, some)
                )
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            return n
        except _FullError:
            return 2 * n
        return None

    def _write(self, namespace: str, n_names: int, n: int, read: dict[str, Shard]) -> int:
        """Make the shards of a namespace anew; return how many there are."""
        while n * _NAMES_IN_SHARD < n_names and n < MAX_SHARDS:
            n *= 2
        try:
            for i, path in enumerate(shard_paths(namespace, n)):
                self._changed(path, partial(self._anew, namespace, i, n, read))
        except _FullError:
            return self._write(namespace, n_names, 2 * n, read)
        return n

    # A shard is read, or known to be made anew, before the indexes are: whoever changes one
    # meanwhile replaces the shard after us, or has done so, and then we begin again.

    def _merged(
        self, namespace: str, i: int, n: int, modules: Sequence[ModuleName], data: bytes | None
    ) -> bytes:
        where = self._where(shard_paths(namespace, n)[i])
        if data is None:
            raise invalid_catalogue(where, "it is missing")
        listed = decode_shard(data, where)
        return _encoded(listed, self._scanned(modules), n)

    def _anew(
        self, namespace: str, i: int, n: int, read: dict[str, Shard], _data: bytes | None
    ) -> bytes:
        names = self._backend.names(namespace)
        shards = self._scanned([each for each in names if shard_of(each.name, n) == i])
        read.update({shard.key: shard for shard in shards})
        return _encoded({}, shards, n)

    def _with_counts(
        self, namespace: str | None, counts: Mapping[str, int], data: bytes | None
    ) -> bytes:
        merged = dict(counts)
        with suppress(ModpmError):  # what is damaged is made anew
            merged = {**decode_namespaces(data or b"", ""), **counts}
        if namespace is None:
            there = {module.namespace for module in self._backend.names()}
            merged = {each: n for each, n in merged.items() if each in there}
        return encode_namespaces(merged)

    def _changed(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        def changed(data: bytes | None) -> bytes | None:
            new = change(data)
            return None if new == data else new

        assert self._update is not None, "a registry that is only read has no changes"
        self._update(path, changed)


def _encoded(
    listed: Mapping[str, canonical_json.Json], read: Iterable[Shard], n_shards: int
) -> bytes:
    """Return a shard with what was read of modules in place of what is listed of them."""
    entries: Entries = {}
    for shard in read:
        entries.update(shard.entries or {})
    encoded = encode_shard({**listed, **plain(entries)})
    if len(encoded) > MAX_SHARD_BYTES and n_shards < MAX_SHARDS:
        raise _FullError
    return encoded


def _namespace(module: ModuleName) -> str:
    return module.namespace
