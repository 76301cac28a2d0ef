"""Resolution against an oracle that tries every choice, in registries small enough for that."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tests.registry.resolver.shelf import Listing, Shelf, release

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.resolver import resolution
from modpm.registry.resolver.refusals import Demand, ResolutionError
from modpm.registry.resolver.resolution import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from modpm.registry.index import ModuleRelease

Pins = dict[str, str]

ORIGINS = ["sha256:" + digit * 64 for digit in "abc"]


def resolved(
    listing: Listing, asked: Sequence[str], locked: Pins | None = None, *, same_origin: bool = False
) -> Pins:
    demands = [Demand(Requirement.parse(text), f"line {text}") for text in asked]
    kept = {ModuleName.parse(name): Version(version) for name, version in (locked or {}).items()}
    found = resolve(demands, Shelf(listing), kept, same_origin=same_origin)
    return {str(module): release.version for module, release in found.items()}


def attempt(
    listing: Listing, asked: Sequence[str], locked: Pins | None = None, *, same_origin: bool = False
) -> Pins | None:
    try:
        return resolved(listing, asked, locked, same_origin=same_origin)
    except ModpmError:
        return None


NAMES = [f"n/{letter}" for letter in "abcd"]
SPECIFIERS = st.sampled_from(["", "", "<2", ">=2", "==1.1", "!=3.0", "~=2.0", ">=2.1rc1", ">1,<3"])
REQUIREMENTS = st.builds(lambda name, versions: name + versions, st.sampled_from(NAMES), SPECIFIERS)


def listings(versions: Sequence[str], reasons: Sequence[str | None]) -> st.SearchStrategy[Listing]:
    releases = st.builds(
        release,
        st.sampled_from(versions),
        st.lists(REQUIREMENTS, max_size=2),
        st.sampled_from(reasons),
        st.sampled_from(ORIGINS),
    )
    return st.dictionaries(
        st.sampled_from(NAMES),
        st.lists(releases, min_size=1, max_size=4, unique_by=lambda r: r.version),
        min_size=2,
    )


LISTINGS = listings(["1.0", "1.1", "2.0", "2.1rc1", "3.0"], [None, None, None, "bad"])
PLAIN_LISTINGS = listings(["1.0", "1.1", "2.0", "2.1", "3.0"], [None])
ASKED = st.lists(REQUIREMENTS, min_size=1, max_size=3)
LOCKED = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from(["1.0", "1.1", "2.0", "2.1rc1", "3.0"])
)


class Oracle:
    """The clauses of `specs/names.md`, word for word, and every choice there is."""

    def __init__(self, listing: Listing, asked: Sequence[str], locked: Pins) -> None:
        self.listing = listing
        self.locked = locked
        self.asked = [Requirement.parse(text) for text in asked]
        self.modules = sorted({str(requirement.module) for requirement in self.asked})
        self.fitting: dict[str, set[str]] = {}
        self.fitting = {name: self.fits(self.on(name, self.asked)) for name in self.modules}

    @staticmethod
    def on(name: str, requirements: Iterable[Requirement]) -> list[Requirement]:
        return [requirement for requirement in requirements if str(requirement.module) == name]

    def fits(self, requirements: Sequence[Requirement]) -> set[str]:
        """Return the versions that may be chosen for requirements made together."""
        name = str(requirements[0].module)
        together = SpecifierSet(",".join(str(r.specifiers) for r in requirements if r.specifiers))
        admitted = self.fitting.get(name, set()) | {self.locked.get(name, "")}
        exact = {str(Version(s.version)) for s in together if s.operator == "=="}
        offered = {
            r.version
            for r in self.listing.get(name, [])
            if together.contains(r.version, prereleases=True)
            and (r.yanked is None or r.version in admitted | exact)
        }
        finals = {version for version in offered if not Version(version).is_prerelease}
        if together.prereleases or not finals:
            return offered
        return finals | (offered & admitted)

    def solutions(self, pins: Pins | None = None) -> Iterator[Pins]:
        """Give every choice of releases that satisfies all that is asked, and no more modules."""
        pins = pins or {}
        allowed: dict[str, set[str]] = {name: self.fitting[name] for name in self.modules}
        for name, version in pins.items():
            for module, fits in self.needs(self.release(name, version)).items():
                allowed[module] = allowed.get(module, fits) & fits
        if any(version not in allowed[name] for name, version in pins.items()):
            return
        missing = min(allowed.keys() - pins.keys(), default=None)
        if missing is None:
            yield pins
            return
        for version in allowed[missing]:
            yield from self.solutions({**pins, missing: version})

    def release(self, name: str, version: str) -> ModuleRelease:
        return next(r for r in self.listing[name] if r.version == version)

    def needs(self, one: ModuleRelease) -> dict[str, set[str]]:
        required = [Requirement.parse(text) for text in one.requires]
        names = {str(requirement.module) for requirement in required}
        return {name: self.fits(self.on(name, required)) for name in names}

    def best(self, solutions: Sequence[Pins]) -> Pins:
        """Return what is to be chosen of the modules that are asked for."""
        for name in sorted(self.modules, key=lambda name: (name not in self.locked, name)):
            preferred = max((s[name] for s in solutions), key=self.preference(name))
            solutions = [s for s in solutions if s[name] == preferred]
        return {name: solutions[0][name] for name in self.modules}

    def preference(self, name: str) -> Preference:
        return Preference(self.locked.get(name))

    def origin_of(self, pins: Pins) -> set[str]:
        return {self.release(name, pins[name]).origin for name in self.modules}

    def merit(self, origin: str) -> tuple[int, int]:
        """Return how many locked releases an origin keeps, and how far it is behind."""
        n_kept = n_behind = 0
        for name in self.modules:
            of = [v for v in self.fitting[name] if self.release(name, v).origin == origin]
            n_kept += self.locked.get(name) in of
            newest = max(map(Version, of))
            n_behind += sum(Version(version) > newest for version in self.fitting[name])
        return n_kept, -n_behind


@dataclass(frozen=True)
class Preference:
    locked: str | None

    def __call__(self, version: str) -> tuple[bool, Version]:
        return version == self.locked, Version(version)


@settings(max_examples=150, deadline=None)
@given(LISTINGS, ASKED, LOCKED)
def test_there_is_a_resolution_where_any_choice_is_one(
    listing: Listing, asked: list[str], locked: Pins
) -> None:
    oracle = Oracle(listing, asked, locked)
    solutions = list(oracle.solutions())
    pins = attempt(listing, asked, locked)

    if not solutions:
        assert pins is None
    else:
        assert pins in solutions


@settings(max_examples=150, deadline=None)
@given(LISTINGS, ASKED, LOCKED)
def test_what_is_asked_for_is_as_locked_or_as_new_as_can_be(
    listing: Listing, asked: list[str], locked: Pins
) -> None:
    oracle = Oracle(listing, asked, locked)
    pins = attempt(listing, asked, locked)

    if pins is not None:
        best = oracle.best(list(oracle.solutions()))
        assert {name: pins[name] for name in oracle.modules} == best


@settings(max_examples=100, deadline=None)
@given(LISTINGS, ASKED, st.integers(0, 1000))
def test_a_lock_that_still_holds_is_kept_whole(
    listing: Listing, asked: list[str], which: int
) -> None:
    solutions = list(Oracle(listing, asked, {}).solutions())
    if solutions:
        lock = solutions[which % len(solutions)]
        assert resolved(listing, asked, lock) == lock


@settings(max_examples=100, deadline=None)
@given(LISTINGS, ASKED, LOCKED, st.randoms(use_true_random=False), st.booleans())
def test_no_order_matters(
    listing: Listing, asked: list[str], locked: Pins, random: object, same_origin: bool
) -> None:
    shuffle = random.shuffle  # type: ignore[attr-defined]  # hypothesis does not name its type
    names, asked_again, locked_again = list(listing), list(asked), list(locked.items())
    shuffle(names)
    shuffle(asked_again)
    shuffle(locked_again)
    turned = {name: list(reversed(listing[name])) for name in names}

    one = told(listing, asked, locked, same_origin=same_origin)
    assert told(turned, asked_again, dict(locked_again), same_origin=same_origin) == one


def told(listing: Listing, asked: list[str], locked: Pins, *, same_origin: bool) -> Pins | str:
    try:
        return resolved(listing, asked, locked, same_origin=same_origin)
    except ModpmError as error:
        return str(error)


@settings(max_examples=200, deadline=None)
@given(LISTINGS, ASKED, LOCKED)
def test_one_origin_is_found_where_any_choice_has_one(
    listing: Listing, asked: list[str], locked: Pins
) -> None:
    oracle = Oracle(listing, asked, locked)
    solutions = [pins for pins in oracle.solutions() if len(oracle.origin_of(pins)) == 1]
    pins = attempt(listing, asked, locked, same_origin=True)

    if not solutions:
        assert pins is None
        return
    assert pins in solutions
    merits = [oracle.merit(*oracle.origin_of(solution)) for solution in solutions]
    assert oracle.merit(*oracle.origin_of(pins)) == max(merits)
    best = oracle.best([s for s in solutions if oracle.origin_of(s) == oracle.origin_of(pins)])
    assert {name: pins[name] for name in oracle.modules} == best


@settings(max_examples=100, deadline=None)
@given(PLAIN_LISTINGS, ASKED, st.booleans())
def test_the_demands_that_a_derivation_names_cannot_be_had_by_themselves(
    listing: Listing, asked: list[str], same_origin: bool
) -> None:
    error = refusal(listing, asked, same_origin=same_origin)
    if error is None:
        return
    steps = error.derivation
    named = [step["requirement"] for step in steps if "requirement" in step]
    if error.code != "no-common-origin":  # that depends on modules, whoever asks for them
        assert attempt(listing, named) is None
    assert [step["step"] for step in steps] == [*range(1, len(steps) + 1)]
    assert all(cause < step["step"] for step in steps for cause in step["because"])
    assert {c for s in steps for c in s["because"]} == {*range(1, len(steps))}
    assert error.why


def refusal(listing: Listing, asked: list[str], *, same_origin: bool) -> ResolutionError | None:
    try:
        resolved(listing, asked, same_origin=same_origin)
    except ResolutionError as error:
        return error
    except ModpmError:
        return None
    return None


@given(LISTINGS, ASKED, LOCKED)
@settings(max_examples=300, deadline=None)
def test_first_choices_are_those_of_the_solver(
    listing: Listing, asked: list[str], locked: Pins
) -> None:
    found = told(listing, asked, locked, same_origin=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolution, "first_choices", lambda _shelves, _roots: None)
        assert told(listing, asked, locked, same_origin=False) == found


def test_newest_releases_that_go_together_need_no_solver() -> None:
    code = (
        "import sys; from tests.registry.resolver.test_resolution_laws import release, resolved; "
        "assert resolved({'n/a': [release('1.0'), release('2.0', ['n/b<3'])], "
        "'n/b': [release('2.0'), release('3.0')]}, ['n/a']) == {'n/a': '2.0', 'n/b': '2.0'}; "
        "assert 'nab_resolver' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
