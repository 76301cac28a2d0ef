"""Keeping pins without asking registries, against what resolving would choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.registry.resolver.shelf import release
from tests.registry.resolver.test_resolution_laws import resolved

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import MANIFEST_FILE, FileRecord
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import Address
from modpm.registry.pins.pinning import kept
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.requirement_graph import RequirementGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.index import ModuleRelease

NAMES = ["n/a", "n/b", "n/c", "n/d"]
DIGEST = "sha256:" + "1" * 64
FILES = {MANIFEST_FILE: FileRecord(size_bytes=1, digest=DIGEST)}

requirements = st.builds(
    str.__add__, st.sampled_from(NAMES), st.sampled_from(["", "", ">=2", "<3", "==1.0", "!=2.0"])
)
releases = st.lists(
    st.tuples(
        st.sampled_from(["1.0", "2.0", "2.1rc1", "3.0"]),
        st.lists(requirements, max_size=2),
        st.sampled_from([None, None, None, "wrong labels"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one[0],
)


def lock_of(
    pins: dict[str, str], asked: Sequence[str], listing: dict[str, list[ModuleRelease]]
) -> Lockfile:
    """Return the lockfile that a resolution gives."""
    locked = []
    for name, version in pins.items():
        (chosen,) = [r for r in listing[name] if r.version == version]
        module, registry = ModuleName.parse(name), Address("r", "r")
        locked.append(Pin(module, version, DIGEST, registry, FILES, tuple(chosen.requires)))
    return Lockfile.of([Requirement.parse(text) for text in asked], locked)


@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, releases)),
    st.lists(requirements, min_size=1, max_size=3),
    st.lists(requirements, max_size=3),
    st.sampled_from(NAMES),
)
def test_what_is_kept_is_what_resolving_would_choose(
    made: dict[str, list[tuple[str, list[str], str | None]]],
    asked_before: list[str],
    asked: list[str],
    moving: str,
) -> None:
    listing = {
        name: [release(version, requires, yanked) for version, requires, yanked in sorted(of_name)]
        for name, of_name in made.items()
    }
    try:
        before = resolved(listing, asked_before)
    except ModpmError:
        assume(False)
    lock = lock_of(before, asked_before, listing)
    assert list(RequirementGraph(lock).problems()) == []
    listing[moving].append(release("9.0"))

    same = kept(lock, [Requirement.parse(text) for text in asked], same_origin=False)

    if same is not None:
        pins = {str(pin.module): pin.version for pin in same.pins}
        assert pins == resolved(listing, asked, before)


def test_what_only_registries_know_is_not_kept() -> None:
    lock = lock_of({"n/a": "1.0"}, ["n/a"], {"n/a": [release("1.0")]})

    for text in ("n/*", "n/a@stable", "n/a>1", "n/b"):
        assert kept(lock, [Requirement.parse(text)], same_origin=False) is None
    assert kept(lock, [Requirement.parse("n/a")], same_origin=True) is None


def test_what_is_not_needed_any_more_is_left_out() -> None:
    listing = {"n/a": [release("1.0", ["n/b"])], "n/b": [release("1.0")], "n/c": [release("1.0")]}
    lock = lock_of(dict.fromkeys(listing, "1.0"), ["n/a", "n/c"], listing)

    for texts, names in ((["n/a"], ["n/a", "n/b"]), (["n/b<2"], ["n/b"]), ([], [])):
        same = kept(lock, [Requirement.parse(text) for text in texts], same_origin=False)
        assert same is not None
        assert [str(pin.module) for pin in same.pins] == names
        assert same.requirements == tuple(texts)
