"""Sets of versions against `packaging`, version by version, and against Python's sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.version import Version

from modpm.registry.resolver.version_sets import VersionSet, satisfying

NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(
    lambda numbers: ".".join(map(str, numbers))
)
PARTS = st.tuples(
    st.sampled_from(["", "", "", "1!"]),
    NUMBERS,
    st.sampled_from(["", "", "a1", "b2", "rc1"]),
    st.sampled_from(["", "", ".post0", ".post1"]),
    st.sampled_from(["", "", ".dev1"]),
)
PUBLIC = PARTS.map("".join)
VERSIONS = st.tuples(PUBLIC, st.sampled_from(["", "", "", "+local.1"])).map("".join)
OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~=", "==="])
WILD = st.tuples(st.sampled_from(["==", "!="]), st.sampled_from(["", "1!"]), NUMBERS)
SPECIFIERS = st.one_of(
    st.tuples(OPERATORS, PUBLIC).map("".join), WILD.map(lambda parts: "".join(parts) + ".*")
)


@given(SPECIFIERS, st.lists(VERSIONS, max_size=30))
def test_a_compiled_specifier_says_what_packaging_says(text: str, listed: list[str]) -> None:
    try:
        specifier = Specifier(text)
    except InvalidSpecifier:  # `~=1` has no meaning
        return
    versions = sorted(set(map(Version, listed)))
    expected = [i for i, v in enumerate(versions) if specifier.contains(v, prereleases=True)]

    assert list(satisfying(specifier, versions)) == expected


POSITIONS = st.sets(st.integers(0, 70))


@given(POSITIONS, POSITIONS)
def test_sets_of_versions_are_sets(left: set[int], right: set[int]) -> None:
    a, b = VersionSet.of(left), VersionSet.of(right)

    assert set(a & b) == left & right
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert len(a) == len(left)
    assert a.is_empty == (not left)
    assert a.is_subset(b) == b.is_superset(a) == (left <= right)
    assert a.is_disjoint(b) == left.isdisjoint(right)
    relation = a.relation(b)
    assert (relation.is_subset, relation.is_disjoint) == (left <= right, left.isdisjoint(right))
    assert all((position in a) == (position in left) for position in range(80))


@given(POSITIONS, POSITIONS)
def test_a_complement_is_everything_else_there_could_be(left: set[int], right: set[int]) -> None:
    a, b = VersionSet.of(left), VersionSet.of(right)

    assert a | ~a == VersionSet.full()
    assert a & ~a == VersionSet.empty()
    assert ~(a | b) == ~a & ~b
    assert a - b == a & ~b
    assert ~~a == a
    assert hash(~~a) == hash(a)
    assert 1_000_000 in ~a
    for x in (a, ~a):
        for y in (b, ~b):
            assert x.is_subset((x - y) | y)


@given(POSITIONS.filter(bool))
def test_the_last_position_is_the_highest(positions: set[int]) -> None:
    assert VersionSet.of(positions).last == max(positions)
