"""What this machine has seen of the catalogues of registries: SQLite, with full-text search.

One file for each registry, under `MODPM_HOME`. It is brought up to date shard by shard, and
nothing is lost with it: where it cannot be used, the catalogue is read into memory instead.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing, suppress
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import convert
from modpm.core.system.databases import PATIENCE_SECONDS, with_database
from modpm.core.system.home import home
from modpm.registry.backends.shards import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.backends.shards import Shard

FOLDER = "catalogues"
_VERSION = 3
"""Of the tables; those of another version are in another file."""

_PATIENCE_OF_COMPLETION = 0.1
_MAX_COMPLETIONS = 1000
_MAX_REQUIRING = 200
_MAX_WORDS = 200
_NAME = re.compile(r"[a-z0-9-]+/(?:[a-z0-9-]+|\*)")
_TRIGRAM, _WITH_TRIGRAMS = 3, (3, 34)
_TABLES = """
CREATE TABLE IF NOT EXISTS shards (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, namespace TEXT, state TEXT);
CREATE TABLE IF NOT EXISTS modules (
    id INTEGER PRIMARY KEY, shard INTEGER, namespace TEXT, name TEXT,
    text TEXT, labels TEXT, recall REAL, size_bytes INTEGER, license TEXT, origin TEXT,
    signer TEXT, requires TEXT, entry TEXT);
CREATE INDEX IF NOT EXISTS by_name ON modules (namespace, name);
CREATE INDEX IF NOT EXISTS by_shard ON modules (shard);
CREATE INDEX IF NOT EXISTS by_recall ON modules (recall DESC, namespace, name);
CREATE INDEX IF NOT EXISTS by_size ON modules (size_bytes, namespace, name);
CREATE INDEX IF NOT EXISTS by_license ON modules (license);
CREATE INDEX IF NOT EXISTS by_origin ON modules (origin);
CREATE INDEX IF NOT EXISTS by_signer ON modules (signer);
CREATE INDEX IF NOT EXISTS by_requires ON modules (requires) WHERE requires IS NOT NULL;
"""
_WORDS = """
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content='modules', content_rowid='id', tokenize='trigram case_sensitive 1');
"""

Result = TypeVar("Result")


class Query(NamedTuple):
    """What a search is for; a module must meet all of it (as `search`).

    Attributes:
        license: The license, as it is written.
        origin: The digest of the network it was cut from.
        signer: The key it is signed with; the empty text for what is not signed.
    """

    text: str = ""
    label: str | None = None
    namespace: str | None = None
    min_recall: float | None = None
    max_size_bytes: int | None = None
    license: str | None = None
    origin: str | None = None
    signer: str | None = None


Order = Literal["name", "recall", "size"]
"""What comes first: the first name, the highest recall, the smallest."""

_ORDERS: Mapping[Order, str] = {
    "name": "namespace, name",
    "recall": "recall DESC, namespace, name",
    "size": "size_bytes, namespace, name",
}
Column = Literal["namespace", "license", "origin", "signer"]


class HasCatalogue(Protocol):
    """What can be looked through: the part of a backend that is needed for it."""

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        """As `Backend.catalogue`."""


class LocalCatalogue:
    """The catalogue of one registry, as it was when it was last brought up to date."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(_TABLES + (_WORDS if _has_words() else ""))

    def refresh(self, backend: HasCatalogue, namespace: str | None = None) -> list[ModpmError]:
        """Read what has changed in the registry; return why some of it cannot be used."""
        rows = self._database.execute(
            "SELECT key, state FROM shards WHERE ? IS NULL OR namespace = ?",
            (namespace, namespace),
        )
        states = dict(rows.fetchall())
        shards = backend.catalogue(namespace, {k: s for k, s in states.items() if s is not None})
        changed = [shard for shard in shards if shard.entries is not None]
        outdated = (states.keys() - {shard.key for shard in shards}) | {s.key for s in changed}
        if outdated:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                for key in outdated:
                    self._forget(key)
                for shard in changed:
                    self._learn(shard)
        return [shard.problem for shard in shards if shard.problem is not None]

    def find(
        self, query: Query, order: Order = "name", n: int = -1, offset: int = 0
    ) -> dict[ModuleName, Entry]:
        """Return the modules that meet a query, or some of them.

        Args:
            query: What they meet.
            order: What comes first.
            n: How many at most; -1 for all.
            offset: How many that come before are left out.
        """
        wanted, values = _where(query)
        rows = self._database.execute(
            f"SELECT namespace, name, entry FROM modules WHERE {wanted} "  # noqa: S608 -- the words are ours
            f"ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?",
            (*values, n, offset),
        )
        return {ModuleName(space, name): _entry(text) for space, name, text in rows}

    def count(self, query: Query, at_most: int) -> int:
        """Return how many modules meet a query; counting ends at `at_most`."""
        wanted, values = _where(query)
        (n,) = self._database.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM modules WHERE {wanted} LIMIT ?)",  # noqa: S608 -- as above
            (*values, at_most),
        ).fetchone()
        return int(n)

    def values(self, column: Column, at_most: int) -> list[str]:
        """Return what modules have in a column, each once, sorted."""
        rows = self._database.execute(
            f"SELECT DISTINCT {column} FROM modules "  # noqa: S608 -- as above
            f"WHERE entry IS NOT NULL AND {column} IS NOT NULL ORDER BY {column} LIMIT ?",
            (at_most,),
        )
        return [value for (value,) in rows]

    def requiring(self, module: ModuleName) -> dict[ModuleName, Entry]:
        """Return the first of what requires a module, sorted by name."""
        rows = self._database.execute(
            "SELECT namespace, name, entry FROM modules WHERE requires IS NOT NULL "
            "AND (instr(requires, ?) > 0 OR instr(requires, ?) > 0) "
            "ORDER BY namespace, name LIMIT ?",
            (f"\n{module}\n", f"\n{module.namespace}/*\n", _MAX_REQUIRING),
        )
        return {ModuleName(space, name): _entry(text) for space, name, text in rows}

    def namespaces(self) -> set[str]:
        """Return the namespaces that the registry has."""
        return {space for (space,) in self._database.execute("SELECT namespace FROM shards")}

    def names(self, prefix: str = "") -> list[str]:
        """Return the first names that begin with a text, sorted."""
        rows = self._database.execute(
            "SELECT namespace || '/' || name AS whole FROM modules "
            "WHERE substr(whole, 1, ?) = ? ORDER BY whole LIMIT ?",
            (len(prefix), prefix, _MAX_COMPLETIONS),
        )
        return [whole for (whole,) in rows]

    def _forget(self, key: str) -> None:
        found = self._database.execute("SELECT id FROM shards WHERE key = ?", (key,)).fetchone()
        if found is None:
            return
        if _has_words():
            self._database.execute(
                "INSERT INTO words (words, rowid, text) "
                "SELECT 'delete', id, text FROM modules WHERE shard = ?",
                found,
            )
        self._database.execute("DELETE FROM modules WHERE shard = ?", found)
        self._database.execute("DELETE FROM shards WHERE id = ?", found)

    def _learn(self, shard: Shard) -> None:
        added = self._database.execute(
            "INSERT INTO shards (key, namespace, state) VALUES (?, ?, ?)",
            (shard.key, shard.namespace, shard.state),
        )
        entries = (shard.entries or {}).items()
        self._database.executemany(
            "INSERT INTO modules (shard, namespace, name, text, labels, recall, size_bytes, "
            "license, origin, signer, requires, entry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (added.lastrowid, shard.namespace, name, *_columns(shard.namespace, name, entry))
                for name, entry in entries
            ),
        )
        if _has_words():
            self._database.execute(
                "INSERT INTO words (rowid, text) SELECT id, text FROM modules WHERE shard = ?",
                (added.lastrowid,),
            )


def consult(
    backend: Backend, namespace: str | None, work: Callable[[LocalCatalogue], Result]
) -> tuple[Result, list[ModpmError]]:
    """Bring what is known of a registry, or one namespace, up to date, and look something up in it.

    Returns:
        What `work`, which may be called again, returned; why some of it cannot be used.
    """

    def consulted(database: sqlite3.Connection) -> tuple[Result, list[ModpmError]]:
        local = LocalCatalogue(database)
        problems = local.refresh(backend, namespace)
        return work(local), problems

    found = with_database(_path(backend.location), consulted)
    if found is None:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            return consulted(database)
    return found


def opened(backend: Backend) -> tuple[LocalCatalogue, list[ModpmError]]:
    """Return what is known of a registry, up to date, to look things up in for longer.

    Args:
        backend: The registry.

    Returns:
        The catalogue, which several threads may use one after the other, and why some of it
        cannot be used.

    Raises:
        ModpmError: What `Backend.catalogue` raises.
    """
    with suppress(sqlite3.Error):
        _, problems = consult(backend, None, lambda _known: None)  # mends what is damaged
        return LocalCatalogue(_shared(str(_path(backend.location)))), problems
    return in_memory(backend)


def in_memory(shelf: HasCatalogue) -> tuple[LocalCatalogue, list[ModpmError]]:
    """Return the catalogue of what is no registry, and why some of it cannot be used."""
    local = LocalCatalogue(_shared(":memory:"))
    return local, local.refresh(shelf)


def known_names(locations: Iterable[str], prefix: str = "") -> list[str]:
    """Return names of modules that were seen in some registries, without asking these."""

    def names(database: sqlite3.Connection) -> list[str]:
        return LocalCatalogue(database).names(prefix)

    paths = [path for path in map(_path, locations) if path.is_file()]
    # Whoever types a name waits for no lock.
    found = [with_database(path, names, patience_seconds=_PATIENCE_OF_COMPLETION) for path in paths]
    return sorted({name for some in found for name in some or ()})


@cache
def _has_words() -> bool:
    with closing(sqlite3.connect(":memory:")) as database:
        options = {option for (option,) in database.execute("PRAGMA compile_options")}
    return "ENABLE_FTS5" in options and sqlite3.sqlite_version_info >= _WITH_TRIGRAMS


def _path(location: str) -> Path:
    digits = hashlib.sha256(location.encode(errors="surrogateescape")).hexdigest()
    with_words = "-words" if _has_words() else ""
    return home() / FOLDER / f"{digits[:32]}-{_VERSION}{with_words}.sqlite3"


def _shared(place: str) -> sqlite3.Connection:
    return sqlite3.connect(
        place, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
    )


def _where(query: Query) -> tuple[str, list[str | float]]:
    """Return what a module must meet in SQL, and the values that it is about."""
    conditions = list(_conditions(query))
    wanted = " AND ".join(["entry IS NOT NULL", *(condition for condition, _ in conditions)])
    return wanted, [value for _, value in conditions]


def _conditions(query: Query) -> Iterator[tuple[str, str | float]]:
    """Give each thing that a module must meet, and the value that it is about."""
    words = [_storable(word) for word in dict.fromkeys(query.text.casefold().split())]
    if len(words) > _MAX_WORDS:
        raise ModpmError(
            f"a search for {len(words):,} words is not possible",
            code="usage",
            hint=f"look for at most {_MAX_WORDS}",
            exit_code=2,
        )
    label = _storable((query.label or "").casefold())  # it is part of the text
    long = [part for part in (*words, label) if len(part) >= _TRIGRAM]
    phrases = ['"{}"'.format(part.replace('"', '""')) for part in long]
    if phrases and _has_words():
        yield "id IN (SELECT rowid FROM words WHERE words MATCH ?)", " ".join(phrases)
    for word in words:
        yield "instr(text, ?) > 0", word
    if query.label is not None:
        yield "instr(labels, ?) > 0", f"\n{_storable(query.label)}\n"
    if query.namespace is not None:
        yield "namespace = ?", query.namespace
    if query.min_recall is not None:
        yield "recall >= ?", query.min_recall
    if query.max_size_bytes is not None:
        yield "size_bytes <= ?", query.max_size_bytes
    for column in ("license", "origin", "signer"):
        if (value := getattr(query, column)) is not None:
            yield f"{column} = ?", _storable(value)


def _columns(namespace: str, name: str, entry: Entry | None) -> tuple[str | float | None, ...]:
    if entry is None:
        return "", None, None, None, None, None, None, None, None
    text = f"{namespace}/{name} {' '.join(entry.labels)} {entry.summary}".casefold()
    labels = {part for label in entry.labels for part in (label, label.partition("/")[2])}
    recall = min((metrics.recall for metrics in entry.metrics), default=None)
    listed = "".join(f"\n{label}" for label in sorted(labels)) + "\n"
    signer = _storable(entry.signer or "")
    required = "".join(f"\n{name}" for name in filter(None, map(_required, entry.requires)))
    return (
        *(_storable(text), listed, recall, entry.size_bytes, entry.license, entry.origin),
        *(signer, f"{required}\n" if required else None, msgspec.json.encode(entry).decode()),
    )


def _required(requirement: str) -> str:
    """Return the name that a requirement in canonical form begins with."""
    name = _NAME.match(requirement)
    return name[0] if name else ""


def _storable(text: str) -> str:
    """Return a text as SQLite can hold and look for it: none of its words ends at a NUL."""
    return text.replace("\0", " ").encode(errors="backslashreplace").decode()


def _entry(text: str) -> Entry:
    try:
        return convert(json.loads(text), Entry)
    except (ValueError, msgspec.ValidationError) as error:
        raise sqlite3.DatabaseError("an entry is damaged") from error
