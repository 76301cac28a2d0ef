"""What this machine keeps of catalogues: it is brought up to date, and never in the way."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec
import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import ClassMetrics
from modpm.core.formats.names import ModuleName
from modpm.core.formats.records import convert
from modpm.core.system import databases as system_databases
from modpm.registry.backends.opening import open_backend
from modpm.registry.backends.shards import Entry, Shard
from modpm.registry.discovery import local_catalogue
from modpm.registry.discovery.local_catalogue import (
    Query,
    consult,
    in_memory,
    known_names,
    opened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.registry.conftest import Put

    from modpm.registry.discovery.local_catalogue import LocalCatalogue, Order


def entry(*labels: str, summary: str = "", size_bytes: int = 7) -> Entry:
    return Entry(
        version="1.0.0",
        digest=f"sha256:{'a' * 64}",
        kind="module",
        labels=list(labels) or ["digits/cat"],
        summary=summary,
        license="MIT",
        size_bytes=size_bytes,
    )


class Shelf:
    """A registry whose catalogue is what a test says; it counts what is read."""

    location = "shelf"

    def __init__(self, **shards: tuple[str | None, dict[str, Entry | None]]) -> None:
        self.shards = shards
        self.read: list[str] = []
        self.problem: ModpmError | None = None

    def catalogue(self, namespace: str | None, seen: Mapping[str, str]) -> list[Shard]:
        found = []
        for space, (state, entries) in self.shards.items():
            if namespace in {None, space}:
                is_known = state is not None and seen.get(space) == state
                self.read += [] if is_known else [space]
                found.append(
                    Shard(space, space, state, None if is_known else entries, self.problem)
                )
        return found


def names(shelf: Shelf, text: str = "", **wishes: object) -> list[str]:
    query = Query(text, **wishes)  # type: ignore[arg-type]  # each as its field says
    found, _ = consult(shelf, query.namespace, lambda known: list(known.find(query)))  # type: ignore[arg-type]  # a shelf has what is asked of it
    return list(map(str, found))


@pytest.fixture(params=[True, False], ids=["full-text", "without FTS5"])
def with_words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(local_catalogue, "_has_words", lambda: False)
    elif not local_catalogue._has_words():
        pytest.skip("this SQLite has no FTS5 with trigrams")


@pytest.mark.usefixtures("with_words")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["digits/cat", "digits/dog", "pets/cow"]),
        ("purr", ["digits/cat"]),
        ("PURRS LOUD", ["digits/cat"]),
        ("urr", ["digits/cat"]),
        ("rs", ["digits/cat"]),
        ("o", ["digits/cat", "digits/dog", "pets/cow"]),
        ("its/d", ["digits/dog"]),
        ("straße", ["pets/cow"]),
        ("STRASSE", ["pets/cow"]),
        ('"quoted"', ["digits/dog"]),
        ("purrs OR moos", []),
        ("words:purr", []),
        ("100%", ["pets/cow"]),
        ("%", ["pets/cow"]),
        ("p_rr", []),
        ("nul", ["pets/cow"]),
        ("\udcff", []),
        ("*", []),
    ],
)
def test_words_are_looked_for_as_they_stand(text: str, found: list[str]) -> None:
    shelf = Shelf(
        digits=(
            "1",
            {
                "cat": entry(summary="Purrs loudly"),
                "dog": entry(summary='Barks and is "quoted", nothing more'),
            },
        ),
        pets=("1", {"cow": entry(summary="100% Straße\0nul"), "gone": None}),
    )
    assert names(shelf, text) == found


@pytest.mark.usefixtures("with_words")
def test_only_what_has_changed_is_read_and_replaced() -> None:
    shelf = Shelf(
        a=("1", {"cat": entry(summary="purrs")}), b=("1", {"dog": entry(summary="barks")})
    )
    assert names(shelf) == ["a/cat", "b/dog"]
    shelf.read.clear()
    assert names(shelf, "barks") == ["b/dog"]
    assert shelf.read == []

    shelf.shards["b"] = ("2", {"cow": entry(summary="moos")})
    assert (names(shelf, "barks"), names(shelf, "moos")) == ([], ["b/cow"])
    assert shelf.read == ["b"]

    del shelf.shards["a"]
    assert names(shelf) == ["b/cow"]


def test_what_has_no_state_is_read_each_time() -> None:
    shelf = Shelf(a=(None, {"cat": entry()}))
    assert names(shelf) == names(shelf) == ["a/cat"]
    assert shelf.read == ["a", "a"]


def test_a_search_of_one_namespace_leaves_what_is_known_of_others() -> None:
    shelf = Shelf(a=("1", {"cat": entry()}), b=("1", {"dog": entry()}))
    assert names(shelf) == ["a/cat", "b/dog"]
    assert names(shelf, namespace="a") == ["a/cat"]
    shelf.read.clear()
    assert names(shelf) == ["a/cat", "b/dog"]
    assert shelf.read == []


def test_problems_are_told_beside_what_was_found() -> None:
    shelf = Shelf(a=(None, {"cat": entry()}))
    shelf.problem = ModpmError("it is damaged", code="invalid-catalogue")
    found, problems = consult(shelf, None, lambda known: list(known.find(Query())))  # type: ignore[arg-type]  # as above
    assert (len(found), [problem.code for problem in problems]) == (1, ["invalid-catalogue"])


def databases(home: Path) -> list[Path]:
    return sorted((home / "catalogues").iterdir())


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def overwrite_the_middle(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"\xff" * (len(data) - 400) + data[-200:])


def drop_a_table(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("DROP TABLE modules")
    database.execute("CREATE TABLE modules (id INTEGER)")
    database.commit()
    database.close()


def damage_an_entry(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE modules SET entry = '{\"version\": 7}'")
    database.commit()
    database.close()


@pytest.mark.parametrize("damage", [overwrite, overwrite_the_middle, drop_a_table, damage_an_entry])
def test_a_damaged_database_is_made_anew(home: Path, damage: Callable[[Path], None]) -> None:
    shelf = Shelf(a=("1", {"cat": entry(summary="purrs")}))
    assert names(shelf) == ["a/cat"]
    (path,) = databases(home)
    damage(path)
    assert names(shelf, "purrs") == ["a/cat"]
    shelf.read.clear()
    assert names(shelf) == ["a/cat"]
    assert shelf.read == []


def test_a_database_that_another_process_holds_is_done_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_databases, "PATIENCE_SECONDS", 0.05)
    shelf = Shelf(a=("1", {"cat": entry()}))
    assert names(shelf) == ["a/cat"]
    (path,) = databases(home)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        shelf.shards["a"] = ("2", {"dog": entry()})
        assert names(shelf) == ["a/dog"]
        assert known_names(["shelf"]) == []
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert known_names(["shelf"]) == ["a/cat"]


@pytest.mark.parametrize("what", ["file in place of the folder", "folder in place of the file"])
def test_a_home_that_cannot_be_used_is_done_without(home: Path, what: str) -> None:
    shelf = Shelf(a=("1", {"cat": entry()}))
    if what == "file in place of the folder":
        home.mkdir()
        (home / "catalogues").write_bytes(b"")
    else:
        assert names(shelf) == ["a/cat"]
        (path,) = databases(home)
        path.unlink()
        path.mkdir()
    assert names(shelf) == ["a/cat"]


def test_names_are_completed_without_asking_a_registry(put: Put, registry: Path) -> None:
    put("digits/cat")
    put("digits/cow")
    put("pets/dog")
    location = str(registry)
    assert known_names([location], "dig") == []

    def nothing(_known: LocalCatalogue) -> None:
        pass

    consult(open_backend(location), None, nothing)
    registry.rename(registry.with_name("away"))
    assert known_names([location], "dig") == ["digits/cat", "digits/cow"]
    assert known_names([location], "digits/co") == ["digits/cow"]
    assert known_names([location, "elsewhere"]) == ["digits/cat", "digits/cow", "pets/dog"]


def measured(recall: float, size_bytes: int, **fields: object) -> Entry:
    metrics = {"split": "test", "n": 9, "n_positive": 3, "average_precision": 1.0}
    one = convert({**metrics, "precision": 1.0, "recall": recall}, ClassMetrics)
    return msgspec.structs.replace(entry(size_bytes=size_bytes), metrics=[one], **fields)


ORIGIN, SIGNER = f"sha256:{'b' * 64}", f"sha256:{'c' * 64}"
MEASURED = Shelf(
    digits=(
        "1",
        {
            "cat": measured(0.5, 30, origin=ORIGIN),
            "cow": measured(0.9, 20, signer=SIGNER, license="CC0-1.0"),
            "dog": entry(size_bytes=10),
            "gone": None,
            "pets": measured(0.7, 40, requires=["digits/cat<2", "other/*"]),
        },
    )
)


@pytest.mark.parametrize(
    ("order", "found"),
    [("name", "cat cow dog pets"), ("recall", "cow pets cat dog"), ("size", "dog cow cat pets")],
)
def test_modules_come_in_the_order_that_is_asked_for_by_pages(order: Order, found: str) -> None:
    local, _ = in_memory(MEASURED)

    for n in (1, 3, 4):
        pages = [local.find(Query(), order, n, offset) for offset in range(0, 4, n)]
        assert [name.name for page in pages for name in page] == found.split()


def test_counting_ends_where_it_is_enough() -> None:
    local, _ = in_memory(MEASURED)

    assert [local.count(Query(), n) for n in (2, 9)] == [2, 4]
    assert local.count(Query(min_recall=0.6), 9) == 2


@pytest.mark.parametrize(
    ("wishes", "found"),
    [
        ({"origin": ORIGIN}, ["digits/cat"]),
        ({"signer": SIGNER}, ["digits/cow"]),
        ({"signer": ""}, ["digits/cat", "digits/dog", "digits/pets"]),
        ({"license": "CC0-1.0"}, ["digits/cow"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_origin_signer_and_license_are_looked_for(wishes: dict[str, str], found: list[str]) -> None:
    assert names(MEASURED, **wishes) == found


def test_each_value_of_a_column_is_given_once() -> None:
    local, _ = in_memory(MEASURED)

    assert local.values("license", 9) == ["CC0-1.0", "MIT"]
    assert local.values("license", 1) == ["CC0-1.0"]
    assert local.values("origin", 9) == [ORIGIN]
    assert local.values("signer", 9) == ["", SIGNER]


def test_what_requires_a_module_is_found_by_its_whole_name_and_its_namespace() -> None:
    local, _ = in_memory(MEASURED)

    def requiring(name: str) -> list[str]:
        return list(map(str, local.requiring(ModuleName.parse(name))))

    assert requiring("digits/cat") == ["digits/pets"]
    assert requiring("other/any") == ["digits/pets"]
    assert requiring("digits/ca") == requiring("digits/pets") == []


def test_an_opened_catalogue_is_brought_up_to_date(tmp_path: Path, put: Put, home: Path) -> None:
    put("digits/cat")
    backend = open_backend(str(tmp_path / "registry"))
    local, problems = opened(backend)
    assert (list(map(str, local.find(Query()))), problems) == (["digits/cat"], [])

    put("digits/dog")
    assert local.refresh(backend) == []
    assert list(map(str, local.find(Query()))) == ["digits/cat", "digits/dog"]
    assert list((home / "catalogues").iterdir())
