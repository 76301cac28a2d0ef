"""What this machine has seen of registries, and that none of them goes back (clause I-10)."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from modpm.core.errors import ModpmError
from modpm.core.system.databases import with_database
from modpm.core.system.home import home
from modpm.core.system.waiting import say_once
from modpm.registry.permissions import ROLLBACKS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Backend, Published
    from modpm.registry.index import Index

FILE = "seen.sqlite3"
_FRESH = timedelta(hours=1)
"""For how long nothing is written where nothing has changed."""

_SERIAL, _RELEASE, _TAG = "serial", "release", "tag"
_TABLE = """
CREATE TABLE IF NOT EXISTS seen (
    place BLOB, module TEXT, what TEXT, name TEXT, value, first TEXT, last TEXT,
    PRIMARY KEY (place, module, what, name)) WITHOUT ROWID
"""
# What a registry says cannot take the place of a higher serial or another release: that is found
# before, and who was faster meanwhile has seen more.
_KEEP = """
INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (place, module, what, name) DO UPDATE SET
    value = CASE what WHEN 'serial' THEN max(value, excluded.value) ELSE excluded.value END,
    first = CASE WHEN value IS excluded.value THEN first ELSE excluded.first END,
    last = excluded.last
    WHERE what <> 'release' OR value IS excluded.value
"""

Key = tuple[str, str]
Facts = dict[Key, "int | str"]
Result = TypeVar("Result")


class Sighting(NamedTuple):
    """Something that a registry has said, when for the first time, and when for the last."""

    value: int | str
    first: str
    last: str


class Seen:
    """What this machine has seen of registries; threads and processes share it.

    Where it cannot be kept, that is said once, and nothing is known.
    """

    def __init__(self) -> None:
        self._is_usable = True
        self._lock = Lock()

    def index(self, backend: Backend, module: ModuleName) -> Index | None:
        """Return what a registry lists for a module, and remember it.

        Raises:
            ModpmError: `rolled-back`, `release-changed`; what `Backend.index` raises.
        """
        # Known before it is read: what others see meanwhile may be newer than what comes.
        known = self._known(backend.location, module)
        index = backend.index(module)
        facts = {} if index is None else _facts(index)
        if known and not ROLLBACKS.is_given:
            _check(index, known, module, backend.location)
        if ROLLBACKS.is_given or not _is_fresh(facts, known):
            self._keep(backend.location, module, facts, replaces=ROLLBACKS.is_given)
        return index

    def remember(self, backend: Backend, module: ModuleName, index: Index) -> None:
        """Remember what this machine has made of what a registry lists for a module."""
        self._keep(backend.location, module, _facts(index))

    def remember_published(self, releases: Iterable[Published]) -> None:
        """Remember what this machine has published, so that a registry cannot lose it."""
        for one in releases:
            self._keep(one.registry, one.name, {(_RELEASE, one.version): one.digest})

    def _known(self, place: str, module: ModuleName) -> dict[Key, Sighting]:
        def work(database: sqlite3.Connection) -> dict[Key, Sighting]:
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                return {}
            rows = database.execute(
                "SELECT what, name, value, first, last FROM seen WHERE place = ? AND module = ?",
                (os.fsencode(place), str(module)),
            )
            return {(what, name): Sighting(*sighting) for what, name, *sighting in rows}

        return self._done(work) or {}

    def _keep(
        self, place: str, module: ModuleName, facts: Facts, *, replaces: bool = False
    ) -> None:
        which, now = (os.fsencode(place), str(module)), _text(datetime.now(UTC))

        def work(database: sqlite3.Connection) -> None:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.execute(_TABLE)
                if replaces:
                    database.execute("DELETE FROM seen WHERE place = ? AND module = ?", which)
                rows = [(*which, *key, value, now, now) for key, value in facts.items()]
                database.executemany(_KEEP, rows)

        self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        path = home() / FILE

        def unsynced(database: sqlite3.Connection) -> Result:
            # What a crash of the system may cost is the record of the last seconds, or that it is
            # begun anew; waiting for the disk would cost more, again and again.
            database.execute("PRAGMA synchronous = OFF")
            return work(database)

        def say(error: Exception, is_anew: bool) -> None:
            self._is_usable = is_anew
            then = "is begun anew" if is_anew else "is not known"
            say_once(f"what was seen of registries {then}: {path}: {error}")

        with self._lock:
            return with_database(path, unsynced, say) if self._is_usable else None


def _facts(index: Index) -> Facts:
    # A registry without documents counts nothing.
    counted: Facts = {(_SERIAL, ""): index.serial} if index.serial else {}
    releases = {(_RELEASE, release.version): release.digest for release in index.releases}
    return {**counted, **releases, **{(_TAG, tag): to for tag, to in index.tags.items()}}


def _is_fresh(facts: Facts, known: Mapping[Key, Sighting]) -> bool:
    since = _text(datetime.now(UTC) - _FRESH)
    return all(
        key in known and known[key].value == value and known[key].last > since
        for key, value in facts.items()
    )


def _check(
    index: Index | None, known: Mapping[Key, Sighting], module: ModuleName, place: str
) -> None:
    changed = list(_changed(index, known))
    problems = [*changed, *_gone_back(index, known)]
    if problems:
        what = "lists other releases than before" if changed else "has gone back"
        raise ModpmError(
            f"what a registry lists for `{module}` {what}",
            code="release-changed" if changed else "rolled-back",
            where=f"registry {place}",
            why="\n".join(problems),
            hint="ask whoever keeps it. Where it was made anew or restored, and where you know of "
            "the change, go on by `--accept-rollback`; a copy may only be late: try again then",
        )


def _changed(index: Index | None, known: Mapping[Key, Sighting]) -> Iterator[str]:
    for release in [] if index is None else index.releases:
        seen = known.get((_RELEASE, release.version))
        if seen is not None and seen.value != release.digest:
            yield f"{release.version} is {release.digest}, and was {seen.value} on {seen.last}"


def _gone_back(index: Index | None, known: Mapping[Key, Sighting]) -> Iterator[str]:
    facts = {} if index is None else _facts(index)
    releases = [] if index is None else index.releases
    there = set() if index is None else {str(entry.version) for entry in index.entries}
    order = {release.version: i for i, release in enumerate(releases)}
    # Who yanks a release lets its tags stand for an older one.
    offered = {
        release.version: order[release.version] for release in releases if not release.yanked
    }
    for (what, name), seen in known.items():
        now = facts.get((what, name))
        if what == _SERIAL and int(now or 0) < int(seen.value):
            yield f"its count of changes was {seen.value} on {seen.last}, and is {now or 0}"
        elif what == _RELEASE and name not in there:
            yield f"{name} was listed from {seen.first} to {seen.last}, and is not"
        elif what == _TAG and order.get(str(now), len(order)) < offered.get(str(seen.value), -1):
            yield f"`{name}` stood for {seen.value} on {seen.last}, and stands for {now}"


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
