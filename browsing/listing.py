"""What a shelf has: rows to choose from, and all that is known of one module or one origin."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import CARD_FILE, Manifest
from modpm.core.formats.picture import picture_problem
from modpm.core.shown_text import as_text
from modpm.core.system.threads import in_threads
from modpm.registry.backends.shards import Entry
from modpm.registry.discovery.information import listed_file, listed_manifest
from modpm.registry.discovery.local_catalogue import Query, in_memory, opened
from modpm.registry.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from modpm.browsing.shelf import Shelf
    from modpm.core.formats.composition_manifest import AnyManifest
    from modpm.core.formats.names import ModuleName
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.discovery.local_catalogue import LocalCatalogue, Order
    from modpm.registry.index import Index, Release

    Kind = Literal["registry", "project", "folder"]

PAGE_SIZE = 50
MAX_COUNTED, MAX_CHOICES, MAX_OF_AN_ORIGIN = 10_000, 200, 64
MAX_README_BYTES = 128 * 1024
_FRESH_SECONDS, _KEPT_MANIFESTS, _KEPT_PICTURES = 15.0, 64, 256
Row = dict[str, Any]
"""A module as scripts of a page and its templates read it; all texts may be shown."""


class Page(NamedTuple):
    """Some of the modules that meet a query.

    Attributes:
        rows: The modules.
        n: How many meet it; `MAX_COUNTED` where there are as many or more.
        number: Which page it is, from 1.
    """

    rows: list[Row]
    n: int
    number: int

    @property
    def n_pages(self) -> int:
        """How many pages there are, as far as modules were counted."""
        return max(1, -(-self.n // PAGE_SIZE))


@dataclass(frozen=True)
class Module:
    """All that is known of a module, by the release that stands for it.

    Attributes:
        row: As the list has it.
        index: What is listed.
        release: The release; its manifest is `manifest`.
        readme: Its card, in Markdown; None if there is none, or none that can be read.
        requiring: What requires it.
        pictures: The digests of its example images that can be shown, by their files.
        problems: What could not be read.
    """

    row: Row
    index: Index
    release: Release
    manifest: AnyManifest
    readme: str | None = None
    requiring: list[Row] = field(default_factory=list)
    pictures: Mapping[str, str] = field(default_factory=dict)
    problems: list[ModpmError] = field(default_factory=list)


@dataclass(frozen=True)
class OriginGroup:
    """The class modules of one origin, and what was composed of them.

    Attributes:
        digest: Names the origin.
        members: A row and a manifest for each module, in the order of the origin's classes.
        n_left_out: How many modules more there are.
        compositions: Compositions of modules of which one at least is of the origin.
        problems: What could not be read.
    """

    digest: str
    members: list[tuple[Row, Manifest]]
    n_left_out: int
    compositions: list[Row]
    problems: list[ModpmError]


class Listing:
    """The catalogue of a shelf; several threads may use it.

    Args:
        shelf: What is browsed.
        kind: Where its modules are.
        reopen: Opens the same anew, if it is a registry, of which a backend may remember what was
            there; its catalogue is kept on this machine.

    Raises:
        ModpmError: The registry cannot be reached or listed.
    """

    def __init__(
        self, shelf: Shelf, kind: Kind, reopen: Callable[[], Backend] | None = None
    ) -> None:
        self.location = as_text(shelf.location)
        self.kind = kind
        self.problems: list[ModpmError] = []
        self._reopen = reopen
        self._backend = None if reopen is None else reopen()
        self._shelf: Shelf = shelf if self._backend is None else self._backend
        self._lock = Lock()
        self._seen = Seen()
        self._manifests: dict[str, AnyManifest] = {}
        self._pictures: dict[str, bytes] = {}
        self._choices: dict[str, list[str]] | None = None
        self._catalogue: LocalCatalogue
        self._catalogue, self.problems = (
            in_memory(shelf) if self._backend is None else opened(self._backend)
        )
        self._read_at = time.monotonic()

    def refresh(self) -> None:
        """Read what has changed since some seconds ago; what hinders that is among `problems`."""
        with self._lock:
            if time.monotonic() - self._read_at < _FRESH_SECONDS:
                return
            try:
                if self._reopen is not None:
                    self._shelf = self._backend = self._reopen()
                self.problems = self._catalogue.refresh(self._shelf)
            except ModpmError as error:
                self.problems = [error]
            except sqlite3.Error as error:
                self.problems = [_not_kept(error)]
            self._choices = None
            self._read_at = time.monotonic()

    def page(self, query: Query, order: Order = "name", number: int = 1) -> Page:
        """Return a page of the modules that meet a query; the last, if there are fewer."""
        with self._lock:
            n = self._catalogue.count(query, MAX_COUNTED)
            last = max(1, -(-n // PAGE_SIZE))
            number = number if n == MAX_COUNTED else min(number, last)
            offset = (max(1, number) - 1) * PAGE_SIZE
            found = self._catalogue.find(query, order, PAGE_SIZE, offset)
        return Page(_rows(found), n, max(1, number))

    def rows(self) -> list[Row]:
        """Return all modules, by name."""
        with self._lock:
            return _rows(self._catalogue.find(Query()))

    def choices(self) -> dict[str, list[str]]:
        """Return what modules can be chosen by: namespaces, licenses, origins, signers."""
        with self._lock:
            if self._choices is None:
                self._choices = {
                    column: self._catalogue.values(column, MAX_CHOICES)
                    for column in ("namespace", "license", "origin", "signer")
                }
            return self._choices

    def module(self, name: ModuleName) -> Module:
        """Return all that is known of a module.

        Raises:
            ModpmError: `unknown-module`; `no-version-fits`, if all were yanked; as reading it.
        """
        module = self._described(name)
        readme, problems = self._readme(name, module.release)
        pictures, unshown = self._examples(name, module)
        with self._lock:
            requiring = _rows(self._catalogue.requiring(name))
        return replace(
            module,
            readme=readme,
            requiring=requiring,
            pictures=pictures,
            problems=problems + unshown,
        )

    def picture(self, digest: str) -> bytes | None:
        """Return a picture of a module that was asked for lately; None if there is none."""
        with self._lock:
            return self._pictures.get(digest)

    def origin(self, digest: str) -> OriginGroup:
        """Return the class modules of an origin.

        Raises:
            ModpmError: `unknown-module`, if there are none.
        """
        with self._lock:
            query = Query(origin=digest)
            found = list(self._catalogue.find(query, "name", MAX_OF_AN_ORIGIN))
            n = self._catalogue.count(query, MAX_COUNTED)
            compositions: dict[ModuleName, Entry] = {}
            for name in found:
                compositions |= {
                    at: entry
                    for at, entry in self._catalogue.requiring(name).items()
                    if entry.kind == "composition"
                }
        if not found:
            raise _unknown("there is no module of this origin", self.location)
        members, problems = self._members(found)
        rows = sorted(_rows(compositions), key=lambda row: len(row["labels"]))
        return OriginGroup(digest, members, n - len(found), rows, problems)

    def _members(
        self, names: Sequence[ModuleName]
    ) -> tuple[list[tuple[Row, Manifest]], list[ModpmError]]:
        def read(name: ModuleName) -> Module | ModpmError:
            try:
                return self._described(name)
            except ModpmError as error:
                return error

        found = in_threads(read, names, "manifests cannot be read", is_brief=self._is_near)
        members = [
            (one.row, one.manifest)
            for one in found
            if isinstance(one, Module) and isinstance(one.manifest, Manifest)
        ]
        members.sort(key=lambda member: member[1].output.class_index)
        return members, [one for one in found if isinstance(one, ModpmError)]

    def _is_near(self, _one: object) -> bool:
        return "://" not in self.location

    def _described(self, name: ModuleName) -> Module:
        index = self._index(name)
        release = None if index is None else index.newest()
        if index is None:
            raise _unknown(f"there is no module `{name}`", self.location)
        if release is None:
            raise ModpmError(
                f"no release of `{name}` is offered",
                code="no-version-fits",
                where=self.location,
                why="; ".join(f"{one.version} is yanked: {one.yanked}" for one in index.releases),
            )
        return Module(_row_of(name, index), index, release, self._manifest(name, release))

    def _index(self, name: ModuleName) -> Index | None:
        if self._backend is None:
            return self._shelf.index(name)
        return self._seen.index(self._backend, name)

    def _manifest(self, name: ModuleName, release: Release) -> AnyManifest:
        known = self._manifests.get(release.digest)
        if known is None:
            known = listed_manifest(self._shelf, name, release)
            if len(self._manifests) >= _KEPT_MANIFESTS:
                self._manifests.clear()
            self._manifests[release.digest] = known
        return known

    def _examples(
        self, name: ModuleName, module: Module
    ) -> tuple[dict[str, str], list[ModpmError]]:
        """Read the example images of a module; what cannot be shown is told, in a registry."""
        manifest, listed = module.manifest, module.release.all_pictures
        if self.kind == "project" or not isinstance(manifest, Manifest):
            return {}, []  # what is installed has none
        wanted = {file: listed[file] for file in manifest.all_examples if file in listed}

        def read(file: str) -> ModpmError | None:
            try:
                self._keep_picture(name, module.release, file)
            except ModpmError as error:
                return error
            return None

        problems = in_threads(read, list(wanted), "pictures cannot be read", is_brief=self._is_near)
        shown = {
            file: record.digest
            for (file, record), problem in zip(wanted.items(), problems, strict=True)
            if problem is None
        }
        return shown, [problem for problem in problems if problem is not None]

    def _keep_picture(self, name: ModuleName, release: Release, file: str) -> None:
        digest = release.all_pictures[file].digest
        if self.picture(digest) is not None:
            return
        data, where = listed_file(self._shelf, name, release, file)
        if (why := picture_problem(data)) is not None:
            raise ModpmError(
                "a picture of the module is not shown",
                code="invalid-picture",
                where=where,
                why=f"it {why}",
            )
        with self._lock:
            if len(self._pictures) >= _KEPT_PICTURES:
                self._pictures.pop(next(iter(self._pictures)))
            self._pictures[digest] = data

    def _readme(self, name: ModuleName, release: Release) -> tuple[str | None, list[ModpmError]]:
        record = release.files.get(CARD_FILE)
        if record is None:
            return None, []
        if record.size_bytes > MAX_README_BYTES:
            too_large = ModpmError(
                f"the {CARD_FILE} has {record.size_bytes:,} bytes",
                code="too-large",
                why=f"at most {MAX_README_BYTES:,} are shown",
            )
            return None, [too_large]
        try:
            data, _ = listed_file(self._shelf, name, release, CARD_FILE)
        except ModpmError as error:
            return None, [error]
        return data.decode(errors="replace"), []


def _not_kept(error: sqlite3.Error) -> ModpmError:
    return ModpmError(
        "what is known of the catalogue cannot be brought up to date",
        code="cannot-write",
        why=str(error),
        hint="what is shown was there a while ago",
    )


def _unknown(what: str, where: str) -> ModpmError:
    return ModpmError(
        what, code="unknown-module", where=where, hint="look for it on the page of all modules"
    )


def _rows(found: dict[ModuleName, Entry]) -> list[Row]:
    return [_row(name, entry) for name, entry in found.items()]


def _row_of(name: ModuleName, index: Index) -> Row:
    entry = Entry.of(index)
    assert entry is not None
    return _row(name, entry)


def _row(name: ModuleName, entry: Entry) -> Row:
    recalls = [metrics.recall for metrics in entry.metrics]
    shares: dict[str, Callable[[], float | None]] = {
        "recall": lambda: min(recalls, default=None),
        "precision": lambda: min((one.precision for one in entry.metrics), default=None),
        "accuracy": lambda: min((one.accuracy for one in entry.measured), default=None),
    }
    return {
        "namespace": name.namespace,
        "name": name.name,
        "version": as_text(entry.version),
        "kind": entry.kind,
        "labels": [as_text(label) for label in entry.labels],
        "summary": as_text(entry.summary),
        "license": entry.license,
        "size_bytes": entry.size_bytes,
        **{share: lowest() for share, lowest in shares.items()},
        "origin": entry.origin,
        "signer": None if entry.signer is None else as_text(entry.signer),
    }
