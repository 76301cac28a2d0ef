"""What is said where there is no resolution, in words and as data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.registry.resolver import shelf
from tests.registry.resolver.shelf import Listing, Shelf

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.resolver.refusals import Demand, ResolutionError
from modpm.registry.resolver.resolution import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.index import ModuleRelease


def release(
    version: str, *requires: str, yanked: str | None = None, origin: str = "0"
) -> ModuleRelease:
    return shelf.release(version, requires, yanked, "sha256:" + origin * 64)


def chosen(listing: Listing, asked: Sequence[str], *, same_origin: bool = False) -> dict[str, str]:
    demands = [Demand(Requirement.parse(text), "modpm.toml") for text in asked]
    found = resolve(demands, Shelf(listing), same_origin=same_origin)
    return {str(module): one.version for module, one in found.items()}


def refused(
    listing: Listing, asked: Sequence[str], *, same_origin: bool = False
) -> ResolutionError:
    with pytest.raises(ResolutionError) as caught:
        chosen(listing, asked, same_origin=same_origin)
    return caught.value


CATS = [release(f"{number}.0") for number in range(1, 9)]


def test_a_conflict_is_told_from_the_facts_to_the_conclusion() -> None:
    pets = [release(f"{number}.0", f"n/cat>={number}") for number in range(3, 9)]

    error = refused({"n/cat": CATS, "n/pets": pets}, ["n/cat<3", "n/pets"])

    assert error.code == "conflict"
    assert error.what == "no release of `n/cat` satisfies everybody who asks for it"
    assert error.where == "registry shelf of n"
    assert error.why == (
        "n/pets 3.0 requires `n/cat>=3`, n/pets 4.0 requires `n/cat>=4` and n/pets 5.0 requires "
        "`n/cat>=5`, so n/pets>=3.0,<=5.0 needs n/cat>=3.0.\n"
        "And n/pets 6.0 requires `n/cat>=6` and n/pets 7.0 requires `n/cat>=7`, "
        "so n/pets>=3.0,<=7.0 needs n/cat>=3.0.\n"
        "And n/pets 8.0 requires `n/cat>=8` and `n/pets` is asked for by modpm.toml, "
        "so n/cat>=3.0 is needed.\n"
        "And `n/cat<3` is asked for by modpm.toml, "
        "so what is asked for cannot be had together.\n"
        "releases found: 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0"
    )
    assert error.hint == "loosen one of these requirements"


def test_a_derivation_is_data_too() -> None:
    listing = {"n/cat": CATS[:2], "n/pets": [release("1.0", "n/cat>=2")]}

    error = refused(listing, ["n/cat<2", "n/pets"])

    steps = json.loads(json.dumps(error.derivation))
    demand = {"kind": "demand", "requirement": "n/cat<2", "asked_by": "modpm.toml"}
    requirement = {
        "kind": "requirement",
        "text": "n/pets 1.0 requires `n/cat>=2`",
        "module": "n/pets",
        "versions": ["1.0"],
        "on": "n/cat",
        "requires": ["n/cat>=2"],
    }
    assert any(demand.items() <= step.items() for step in steps)
    assert any(requirement.items() <= step.items() for step in steps)
    assert steps[-1]["kind"] == "conclusion"
    assert steps[-1]["text"] == "what is asked for cannot be had together"


def test_one_demand_that_nothing_satisfies_is_data_too() -> None:
    error = refused({"n/cat": CATS[:1]}, ["n/cat>1"])

    assert [step["kind"] for step in error.derivation] == ["demand", "obstacle", "conclusion"]
    assert error.derivation[-1]["because"] == [1, 2]
    assert error.derivation[1]["versions"] == ["1.0"]


def test_only_the_demands_that_exclude_each_other_are_named() -> None:
    error = refused({"n/cat": CATS}, ["n/cat<3", "n/cat>5", "n/cat!=7"])

    assert error.code == "conflict"
    assert error.what == "no release of `n/cat` satisfies `<3` and `>5`"
    assert "!=7" not in str(error)


def test_a_requirement_on_nothing_is_named_for_all_releases_that_have_it() -> None:
    pets = [
        release("1.0", "n/unicorn", "n/cat"),
        release("1.1", "n/unicorn"),
        release("2.0", "m/*"),
    ]

    error = refused({"n/cat": CATS, "n/pets": pets}, ["n/pets<2"])

    assert error.code == "unknown-module"
    assert error.what == "there is no module `n/unicorn`"
    assert "n/pets 1.0 and 1.1 require `n/unicorn`, and there is no module" in str(error.why)
    assert refused({"n/pets": pets}, ["n/pets>1.1"]).code == "unknown-namespace"


def test_a_tag_that_a_release_requires_may_be_unknown() -> None:
    error = refused({"n/cat": CATS, "n/pets": [release("1.0", "n/cat@best")]}, ["n/pets"])

    assert error.code == "unknown-tag"
    assert "n/pets 1.0 requires `n/cat@best`, and `n/cat` has no tag `best`" in str(error.why)


def test_a_registry_that_fails_is_no_reason_for_an_older_release() -> None:
    listing = {"n/pets": [release("1.0"), release("2.0", "n/unreachable")]}

    with pytest.raises(ModpmError, match="does not answer") as caught:
        chosen(listing, ["n/pets"])

    assert caught.value.code == "network-failed"


def test_an_index_is_read_only_when_a_release_needs_it() -> None:
    listing = {"n/pets": [release("1.0", "n/unreachable"), release("2.0")]}

    assert chosen(listing, ["n/pets"]) == {"n/pets": "2.0"}


def test_a_yanked_release_that_would_fit_is_named_with_its_reason() -> None:
    listing = {
        "n/cat": [release("1.0"), release("2.0", yanked="wrong labels")],
        "n/zoo": [release("1.0", "n/cat==2.0")],
    }

    assert chosen(listing, ["n/zoo"]) == {"n/cat": "2.0", "n/zoo": "1.0"}
    error = refused(listing, ["n/cat", "n/zoo"])
    assert "of n/cat, 2.0 is yanked: wrong labels" in str(error.why)
    assert error.hint == "to take the yanked release all the same, ask for `n/cat==2.0`"
    assert chosen(listing, ["n/cat==2.0", "n/zoo"]) == {"n/cat": "2.0", "n/zoo": "1.0"}


def test_a_pre_release_that_would_fit_is_named() -> None:
    listing = {
        "n/cat": [release("1.0"), release("2.0rc1")],
        "n/zoo": [release("1.0", "n/cat>=2.0rc1")],
    }

    error = refused(listing, ["n/cat", "n/zoo"])

    assert "of n/cat, 2.0rc1 is a pre-release" in str(error.why)
    assert error.hint == "to take the pre-release all the same, ask for `n/cat==2.0rc1`"
    assert chosen(listing, ["n/cat==2.0rc1", "n/zoo"]) == {"n/cat": "2.0rc1", "n/zoo": "1.0"}


def test_a_release_that_requires_a_newer_one_of_its_own_module_is_explained() -> None:
    listing = {"n/a": [release("1.0", "n/a>=2"), release("2.1rc1")]}

    error = refused(listing, ["n/a"])

    assert "n/a 1.0 requires `n/a>=2`" in str(error.why)
    assert "2.1rc1 is a pre-release" in str(error.why)
    assert chosen(listing, ["n/a>=2.1rc1"]) == {"n/a": "2.1rc1"}


def test_modules_of_one_origin_are_preferred_to_newer_ones_of_several() -> None:
    listing = {
        "n/cat": [release("1.0", origin="a"), release("2.0", origin="b")],
        "n/dog": [release("1.0", origin="a"), release("2.0", origin="c")],
        "n/fox": [release("1.0", "n/cat>=2", origin="a")],
    }

    assert chosen(listing, ["n/cat", "n/dog"]) == {"n/cat": "2.0", "n/dog": "2.0"}
    assert chosen(listing, ["n/*"]) == {"n/cat": "2.0", "n/dog": "2.0", "n/fox": "1.0"}
    one_origin = chosen(listing, ["n/cat", "n/dog"], same_origin=True)
    assert one_origin == {"n/cat": "1.0", "n/dog": "1.0"}
    # What is only required may be of another origin.
    assert chosen(listing, ["n/dog", "n/fox"], same_origin=True) == {
        "n/cat": "2.0",
        "n/dog": "1.0",
        "n/fox": "1.0",
    }


def test_the_releases_that_stand_in_the_way_of_one_origin_are_named() -> None:
    listing = {
        "n/cat": [release("1.0", origin="a"), release("2.0", origin="b")],
        "n/dog": [release("1.0", origin="a"), release("2.0", origin="c")],
        "n/fox": [release("1.0", "n/cat>=2", origin="a")],
    }

    error = refused(listing, ["n/cat>1", "n/dog"], same_origin=True)
    assert error.code == "no-common-origin"
    assert error.what == "there is no one origin for the modules that are asked for"
    assert "no release of n/dog that fits is of the origin bbbbbbbbbbbb (n/cat 2.0)" in str(error)
    assert "--no-same-origin" in str(error.hint)

    error = refused(listing, ["n/cat", "n/fox"], same_origin=True)
    assert error.code == "no-common-origin"
    assert "of n/cat, only n/cat 1.0 is of the origin aaaaaaaaaaaa" in str(error)
    assert "n/fox 1.0 requires `n/cat>=2`" in str(error)


def test_very_long_derivations_are_cut_and_complete_as_data() -> None:
    listing = {
        f"n/m{i}": [release(f"{v}.0", f"n/m{i + 1}=={v % 7}.0") for v in range(7)]
        for i in range(30)
    }
    listing["n/m30"] = [release(f"{v}.0", f"n/m0=={(v + 1) % 7}.0") for v in range(7)]

    error = refused(listing, ["n/m0"])

    lines = str(error.why).splitlines()
    assert len(lines) < 32
    assert "steps before these: `--json` shows them" in lines[0]
    assert len(error.derivation) > len(lines)
