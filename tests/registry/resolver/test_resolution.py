from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from tests.registry.resolver.shelf import release

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.index import Index
from modpm.registry.resolver.refusals import Demand, newest_fitting
from modpm.registry.resolver.resolution import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.registry.index import Release


@dataclass
class Shelf:
    """A catalogue in memory; it lists in whatever order it was given."""

    indexes: dict[ModuleName, Index] = field(default_factory=dict)

    def put(self, name: str, *releases: Release, tags: Mapping[str, str] | None = None) -> Shelf:
        index = Index(name=name, tags=dict(tags or {}))
        for one in releases:
            index = index.with_release(one)
        self.indexes[ModuleName.parse(name)] = index
        return self

    def modules(self, namespace: str) -> list[ModuleName]:
        return [name for name in self.indexes if name.namespace == namespace]

    def index(self, module: ModuleName) -> Index:
        if module not in self.indexes:
            raise ModpmError(f"there is no module `{module}`", code="unknown-module")
        return self.indexes[module]

    def place_of(self, module: ModuleName) -> str:
        return f"shelf of {module.namespace}"


def chosen(
    shelf: Shelf, *requirements: str, locked: Mapping[str, str] | None = None
) -> dict[str, str]:
    demands = [Demand(Requirement.parse(text), "the test") for text in requirements]
    kept = {ModuleName.parse(name): Version(v) for name, v in (locked or {}).items()}
    return {str(name): r.version for name, r in resolve(demands, shelf, kept).items()}


def refused(
    shelf: Shelf, *requirements: str, locked: Mapping[str, str] | None = None
) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        chosen(shelf, *requirements, locked=locked)
    return caught.value


def test_the_newest_that_fits_is_chosen() -> None:
    shelf = Shelf().put("n/cat", *map(release, ["1.0", "1.9", "1.10", "2.0"]))

    assert chosen(shelf, "n/cat") == {"n/cat": "2.0"}
    assert chosen(shelf, "n/cat<2") == {"n/cat": "1.10"}
    assert chosen(shelf, "n/cat<2", "n/cat!=1.10") == {"n/cat": "1.9"}


def test_a_namespace_is_every_module_in_it() -> None:
    shelf = Shelf().put("n/cat", release("1.0")).put("n/dog", release("1.0"))
    shelf.put("m/7", release("1.0"))

    assert chosen(shelf, "n/*") == {"n/cat": "1.0", "n/dog": "1.0"}


def test_a_tag_names_one_release() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("2.0rc1"), tags={"next": "2.0rc1"})

    assert chosen(shelf, "n/cat@next") == {"n/cat": "2.0rc1"}
    assert refused(shelf, "n/cat@next", "n/cat<2.0.dev0").code == "conflict"
    unknown = refused(shelf, "n/cat@stable")
    assert unknown.code == "unknown-tag"
    assert "next" in str(unknown)


def test_pre_releases_are_chosen_only_if_named_or_alone() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("2.0rc1")).put("n/new", release("1.0a1"))

    assert chosen(shelf, "n/cat") == {"n/cat": "1.0"}
    assert chosen(shelf, "n/cat>=2.0rc1") == {"n/cat": "2.0rc1"}
    assert chosen(shelf, "n/new") == {"n/new": "1.0a1"}


def test_a_yanked_release_is_chosen_only_by_its_exact_version() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("1.1", yanked="wrong labels"))

    assert chosen(shelf, "n/cat") == {"n/cat": "1.0"}
    assert chosen(shelf, "n/cat==1.1") == {"n/cat": "1.1"}
    error = refused(shelf, "n/cat>1.0")
    assert error.code == "no-version-fits"
    assert "1.1 is yanked: wrong labels" in str(error)
    assert refused(shelf, "n/cat==1.1.*").code == "no-version-fits"


def test_yanked_release_is_kept_when_locked() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("1.1", yanked="wrong labels"))

    assert chosen(shelf, "n/cat", locked={"n/cat": "1.1"}) == {"n/cat": "1.1"}


def test_a_locked_release_is_kept_while_it_satisfies_what_is_asked() -> None:
    shelf = Shelf().put("n/cat", *map(release, ["1.0", "1.1", "2.0rc1"]))

    assert chosen(shelf, "n/cat", locked={"n/cat": "1.0"}) == {"n/cat": "1.0"}
    assert chosen(shelf, "n/cat", locked={"n/cat": "2.0rc1"}) == {"n/cat": "2.0rc1"}
    assert chosen(shelf, "n/cat>1.0", locked={"n/cat": "1.0"}) == {"n/cat": "1.1"}
    assert chosen(shelf, "n/cat", locked={"n/cat": "0.9"}) == {"n/cat": "1.1"}


def test_what_a_release_requires_is_chosen_too() -> None:
    shelf = Shelf().put("n/pets", release("1.0", ["n/cat<2", "m/*"]))
    shelf.put("n/cat", release("1.0"), release("2.0")).put("m/7", release("3.0"))

    assert chosen(shelf, "n/pets") == {"m/7": "3.0", "n/cat": "1.0", "n/pets": "1.0"}


def test_an_older_release_is_chosen_where_the_newest_contradicts() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("2.0"))
    shelf.put("n/pets", release("1.0", ["n/cat<2"]), release("2.0", ["n/cat<1"]))
    shelf.put("n/zoo", release("1.0", ["n/pets"]))

    assert chosen(shelf, "n/zoo", "n/cat") == {"n/cat": "1.0", "n/pets": "1.0", "n/zoo": "1.0"}


def test_a_release_that_requires_what_nobody_has_is_passed_over() -> None:
    shelf = Shelf().put("n/pets", release("1.0"), release("2.0", ["n/unicorn"]))

    assert chosen(shelf, "n/pets") == {"n/pets": "1.0"}
    assert refused(shelf, "n/pets==2.0").code == "unknown-module"


def test_modules_may_require_each_other() -> None:
    shelf = Shelf().put("n/a", release("1.0", ["n/b==1.0"])).put("n/b", release("1.0", ["n/a"]))

    assert chosen(shelf, "n/a") == {"n/a": "1.0", "n/b": "1.0"}


def test_a_conflict_names_who_asks_for_what() -> None:
    shelf = Shelf().put("n/cat", release("1.0"), release("2.0"))
    shelf.put("n/pets", release("1.0", ["n/cat>=2"]))

    error = refused(shelf, "n/cat<2", "n/pets")

    assert error.code == "conflict"
    for words in (
        "`n/cat<2` is asked for by the test",
        "n/pets 1.0 requires `n/cat>=2`",
        "releases found: 1.0, 2.0",
    ):
        assert words in str(error)


def test_a_version_that_does_not_exist_is_refused_with_those_that_do() -> None:
    error = refused(Shelf().put("n/cat", release("1.0"), release("1.4.2")), "n/cat>=2")

    assert error.code == "no-version-fits"
    assert "`n/cat` satisfies `>=2`" in error.what
    assert "releases found: 1.0, 1.4.2" in str(error.why)


def entangled() -> Shelf:
    """Return modules each release of which excludes one of each other module."""
    shelf = Shelf()
    for i in range(8):
        others = [f"n/m{j}!=1.{i}" for j in range(8) if j != i]
        shelf.put(f"n/m{i}", *(release(f"1.{v}", others) for v in range(8)))
    shelf.put("n/z", release("1.0", ["n/nothing>1"]))
    return shelf.put("n/nothing", release("1.0"))


def test_an_entangled_search_finds_what_is_in_the_way() -> None:
    error = refused(entangled(), "n/*")

    assert error.code == "no-version-fits"
    assert "n/z 1.0 requires `n/nothing>1`" in str(error)


def test_a_search_ends() -> None:
    with pytest.raises(ModpmError) as caught:
        resolve([Demand(Requirement.parse("n/*"), "the test")], entangled(), limit_seconds=1e-9)

    assert caught.value.code == "resolving-takes-too-long"


def test_waiting_for_registries_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    shelf = Shelf().put("n/cat", release("1.0", ["n/dog"])).put("n/dog", release("1.0"))
    read = shelf.index

    def slow(module: ModuleName) -> Index:
        now[0] += 3600
        return read(module)

    monkeypatch.setattr(shelf, "index", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    demands = [Demand(Requirement.parse("n/cat"), "the test")]

    found = resolve(demands, shelf, limit_seconds=1)

    assert {str(name) for name in found} == {"n/cat", "n/dog"}
    assert now == [7200]


def test_newest_does_not_look_at_what_a_release_requires() -> None:
    shelf = Shelf().put("n/pets", release("1.0", ["n/unicorn"]))
    pets = shelf.index(ModuleName("n", "pets"))

    assert newest_fitting(pets, [], "a shelf").version == "1.0"
    with pytest.raises(ModpmError, match="releases found"):
        newest_fitting(pets, [Requirement.parse("n/pets>1")], "a shelf")


NAMES = [f"n/{letter}" for letter in "abcde"]
VERSIONS = ["1.0", "1.1", "2.0", "2.1rc1", "3.0"]
SPECIFIERS = st.sampled_from(["", "<2", ">=2", "==1.1", "!=3.0", "~=2.0", ">=2.1rc1"])
REQUIREMENTS = st.builds(lambda name, versions: name + versions, st.sampled_from(NAMES), SPECIFIERS)
RELEASES = st.builds(
    release,
    st.sampled_from(VERSIONS),
    st.lists(REQUIREMENTS, max_size=2),
    st.sampled_from([None, None, None, "bad"]),
)
SHELVES = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(RELEASES, min_size=1, max_size=4, unique_by=lambda r: r.version),
    min_size=1,
)
ASKED = st.lists(REQUIREMENTS, min_size=1, max_size=3)


def shelf_of(releases: Mapping[str, Sequence[Release]]) -> Shelf:
    shelf = Shelf()
    for name, listed in releases.items():
        shelf.put(name, *listed)
    return shelf


def result(shelf: Shelf, asked: Sequence[str]) -> dict[str, str] | None:
    try:
        return chosen(shelf, *asked)
    except ModpmError:
        return None


@settings(max_examples=40, deadline=None)
@given(SHELVES, ASKED)
def test_a_resolution_satisfies_every_requirement(
    releases: dict[str, list[Release]], asked: list[str]
) -> None:
    pins = result(shelf_of(releases), asked)
    if pins is None:
        return
    by_pin = {(name, r.version): r for name, listed in releases.items() for r in listed}
    required = [text for pin in pins.items() for text in by_pin[pin].requires]

    for text in [*asked, *required]:
        requirement = Requirement.parse(text)
        version = pins[str(requirement.module)]
        assert requirement.specifiers.contains(version, prereleases=True)
    assert set(pins) == reachable(asked, pins, by_pin)


def reachable(
    asked: Sequence[str], pins: Mapping[str, str], by_pin: Mapping[tuple[str, str], Release]
) -> set[str]:
    """Return the modules that are asked for, directly or by others that are."""
    found: set[str] = set()
    open_ends = [str(Requirement.parse(text).module) for text in asked]
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            requires = by_pin[name, pins[name]].requires
            open_ends += [str(Requirement.parse(text).module) for text in requires]
    return found


@settings(max_examples=40, deadline=None)
@given(SHELVES, ASKED, st.randoms(use_true_random=False))
def test_a_resolution_does_not_depend_on_any_order(
    releases: dict[str, list[Release]], asked: list[str], random: object
) -> None:
    shuffle = random.shuffle  # type: ignore[attr-defined]  # hypothesis does not name its type
    names, asked_again = list(releases), list(asked)
    shuffle(names)
    shuffle(asked_again)
    turned = {name: list(reversed(releases[name])) for name in names}

    assert result(shelf_of(turned), asked_again) == result(shelf_of(releases), asked)


@settings(max_examples=40, deadline=None)
@given(SHELVES, ASKED)
def test_a_resolution_is_found_where_there_is_one(
    releases: dict[str, list[Release]], asked: list[str]
) -> None:
    """The oracle tries every assignment; it knows no yanked and no pre-releases."""
    plain = {
        name: [r for r in listed if r.yanked is None and "rc" not in r.version]
        for name, listed in releases.items()
    }
    plain = {
        name: [release(r.version, [t for t in r.requires if "rc" not in t]) for r in listed]
        for name, listed in plain.items()
        if listed
    }
    asked = [text for text in asked if "rc" not in text]

    assert (result(shelf_of(plain), asked) is not None) == has_solution(plain, asked, {})


def has_solution(
    releases: Mapping[str, Sequence[Release]], asked: Sequence[str], pins: Mapping[str, Release]
) -> bool:
    requirements = [
        Requirement.parse(t) for t in [*asked, *(t for r in pins.values() for t in r.requires)]
    ]
    for requirement in requirements:
        name = str(requirement.module)
        if name in pins and not requirement.specifiers.contains(pins[name].version):
            return False
    missing = [str(r.module) for r in requirements if str(r.module) not in pins]
    if not missing:
        return True
    candidates = releases.get(missing[0], ())
    return any(has_solution(releases, asked, {**pins, missing[0]: r}) for r in candidates)
