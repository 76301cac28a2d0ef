"""What a version claims against what changed; scores are stood for by numbers here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from tests.registry.changed_distributions import publishing_cases, write_changed

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import ComposedNetwork
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.records import convert
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.publication.changing import yank
from modpm.registry.publication.publishing import publish
from modpm.registry.publication.version_claims import Part, VersionCheck, check_claims, claimed_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.core.formats.distribution import Distribution

VERSIONS = st.builds("{}.{}.{}".format, st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))


class Before:
    """A registry, and distributions that come after those in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = DirectoryRegistry(folder / "registry")
        self.n = 0

    def write(self, version: str, change: Mapping[str, object] | None = None) -> Path:
        self.n += 1
        folder = self.folder / f"dist-{self.n}"
        return write_changed(folder, {"version": version, **(change or {})}).folder

    def publish(self, version: str, change: Mapping[str, object] | None = None) -> None:
        publish([self.write(version, change)], self.registry.location)

    def check(
        self,
        version: str,
        change: Mapping[str, object] | None = None,
        scores: Callable[[Path, Path], float] | None = None,
    ) -> VersionCheck:
        folder = self.write(version, change)
        return self.check_folder(folder, scores)

    def check_folder(
        self, folder: Path, scores: Callable[[Path, Path], float] | None = None
    ) -> VersionCheck:
        (check,) = check_claims([verify_distribution(folder)], self.registry, scores)
        return check


@pytest.fixture
def before(tmp_path: Path) -> Before:
    return Before(tmp_path)


@pytest.mark.parametrize("case", publishing_cases("honest"), ids=str)
def test_golden_honest_versions_are_accepted(before: Before, case: dict[str, Any]) -> None:
    if case["before"] is not None:
        before.publish(case["before"])

    check = before.check(case["after"], case["change"])

    assert check.needed.name.lower() == case["needed"]
    assert check.is_honest


@pytest.mark.parametrize("case", publishing_cases("too_low"), ids=str)
def test_golden_versions_that_claim_too_little_are_refused(
    before: Before, case: dict[str, Any]
) -> None:
    before.publish(case["before"])

    with pytest.raises(ModpmError) as caught:
        before.check(case["after"], case["change"])

    number = {"major": "first", "minor": "second", "patch": "third"}[case["needed"]]
    assert caught.value.code == case["code"]
    assert f"{case['after']} after {case['before']} must move the {number} number" in str(
        caught.value.why
    )


@given(before=VERSIONS, after=VERSIONS)
def test_a_claim_is_the_first_number_that_differs(before: str, after: str) -> None:
    numbers = list(zip(before.split("."), after.split("."), strict=True))
    naive = [i for i, (old, new) in enumerate(numbers) if old != new]

    assert claimed_part(Version(before), Version(after)) == (naive[0] if naive else Part.NONE)


@pytest.mark.parametrize("budget", [-1.0, math.nan])
def test_a_budget_is_a_number_of_points(before: Before, budget: float) -> None:
    with pytest.raises(ModpmError) as caught:
        check_claims([], before.registry, budget_points=budget)

    assert caught.value.code == "bad-setting"


# Which release is compared with


def test_yanked_and_pre_releases_are_not_compared_with(before: Before) -> None:
    before.publish("1.0.0")
    before.publish("1.1.0", {"label": "digits/seven"})
    before.publish("1.2.0rc1", {"label": "digits/seven"})
    before.publish("2.0.0", {"label": "digits/seven"})
    yank("digits/7==1.1.0", "wrong label", before.registry.location)

    assert before.check("1.3.0").previous == "1.0.0"
    assert before.check("2.1.0", {"label": "digits/seven"}).previous == "2.0.0"


def test_nothing_is_compared_where_nothing_was_published(before: Before) -> None:
    check = before.check("1.0.0")

    assert (check.previous, check.is_honest) == (None, True)
    assert not (before.folder / "registry").exists()


# Scores


def same(_before: Path, _after: Path) -> float:
    return 0.0


def other(_before: Path, _after: Path) -> float:
    return 0.25


def test_other_tensors_with_the_same_scores_are_a_patch(before: Before) -> None:
    before.publish("1.0.0")
    folder = _with_other_tensors(before, "1.0.1")

    check = before.check_folder(folder, same)

    assert (check.needed, check.has_probed) == (Part.PATCH, True)


def test_other_scores_are_more_than_a_patch(before: Before) -> None:
    before.publish("1.0.0")

    for scores in (other, None):
        with pytest.raises(ModpmError) as caught:
            before.check_folder(_with_other_tensors(before, "1.0.1"), scores)
        assert caught.value.code == "version-too-low"
        check = before.check_folder(_with_other_tensors(before, "1.1.0"), scores)
        assert (check.needed, check.has_probed) == (Part.MINOR, scores is not None)


def test_scores_get_the_verified_releases(before: Before) -> None:
    before.publish("1.0.0")
    seen: list[tuple[str, str]] = []

    def scores(old: Path, new: Path) -> float:
        seen.append((digest_bytes((old / "module.safetensors").read_bytes()), new.name))
        return 0.0

    folder = _with_other_tensors(before, "1.0.1")
    golden = write_changed(before.folder / "golden", {}).manifest.files["module.safetensors"]
    before.check_folder(folder, scores)

    assert seen == [(golden.digest, folder.name)]


def test_scores_of_other_inputs_are_not_compared(before: Before) -> None:
    def scores(_before: Path, _after: Path) -> float:
        raise AssertionError("they do not fit one batch")

    before.publish("1.0.0")

    folder = _with_other_tensors(before, "2.0.0", {"input.mean": [0.75]})
    check = before.check_folder(folder, scores)

    assert (check.needed, check.has_probed) == (Part.MAJOR, False)
    assert [difference.part for difference in check.differences] == [Part.MAJOR, Part.MINOR]


def test_a_damaged_release_is_not_compared_with(before: Before) -> None:
    before.publish("1.0.0")
    path = before.folder / "registry" / "digits" / "7" / "1.0.0" / "module.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ModpmError) as caught:
        before.check("1.0.1")

    assert caught.value.code == "wrong-digest"


# Compositions


MEASURED = {"data_set": "pets", "split": "test", "fingerprint": "f", "n": 9, "n_rejected": 0}


def at(accuracy: float) -> list[Measurement]:
    return [convert({**MEASURED, "accuracy": accuracy}, Measurement)]


class Compositions:
    """A registry with a composition of `digits/cat` and `digits/dog`, and others after it."""

    def __init__(
        self, folder: Path, module: MakeDistribution, composition: MakeComposition
    ) -> None:
        self.registry = DirectoryRegistry(folder / "registry")
        self.make = composition
        self.cat, self.dog = module("digits/cat"), module("digits/dog")
        self.newer = module("digits/cat", "1.0.1")
        self.before = composition("acme/pets", [self.cat, self.dog], changed={"measured": at(0.9)})
        publish([self.cat.folder, self.dog.folder, self.before.folder], self.registry.location)

    def check(
        self, version: str, members: Sequence[Distribution] = (), **changed: object
    ) -> VersionCheck:
        changed = {"measured": at(0.9), **changed}
        after = self.make("acme/pets", members or [self.cat, self.dog], version, changed=changed)
        return self.check_other(after)

    def check_other(self, after: Distribution) -> VersionCheck:
        (check,) = check_claims([after], self.registry, other)
        return check


@pytest.fixture
def compositions(
    tmp_path: Path, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> Compositions:
    return Compositions(tmp_path, make_distribution, make_composition)


def needed(check: VersionCheck) -> tuple[Part, list[str]]:
    return check.needed, [difference.what for difference in check.differences[:1]]


def test_a_composition_with_other_labels_is_another_thing(compositions: Compositions) -> None:
    members = [compositions.dog, compositions.cat]
    part, (what,) = needed(compositions.check("2.0.0", members))
    assert part == Part.MAJOR
    assert what == ("the labels change from digits/cat, digits/dog to digits/dog, digits/cat")
    assert needed(compositions.check("2.1.0", [compositions.cat]))[0] == Part.MAJOR


def test_a_composition_with_another_threshold_is_another_thing(compositions: Compositions) -> None:
    part, (what,) = needed(compositions.check("2.0.0", reject=0.5))
    assert (part, what) == (Part.MAJOR, "the threshold of rejecting changes from None to 0.5")


def test_a_composition_that_is_less_accurate_is_another_thing(compositions: Compositions) -> None:
    part, (what,) = needed(compositions.check("2.0.0", measured=at(0.85)))
    assert part == Part.MAJOR
    assert what == "accuracy on pets, test, falls from 0.900 to 0.850, by more than 1 point"
    assert needed(compositions.check("1.0.1", measured=at(0.895)))[0] == Part.PATCH


def test_another_release_of_a_class_module_gives_other_scores(compositions: Compositions) -> None:
    members = [compositions.newer, compositions.dog]
    part, (what,) = needed(compositions.check("1.1.0", members))
    assert (part, what) == (
        Part.MINOR,
        "digits/cat moves from digits/cat 1.0.0 to digits/cat 1.0.1",
    )


def test_class_modules_that_are_put_together_otherwise_give_other_scores(
    compositions: Compositions,
) -> None:
    networks = [ComposedNetwork(strategy="fused", modules=[0, 1])]
    part, (what,) = needed(compositions.check("1.1.0", networks=networks, strategy="fused"))
    assert (part, what) == (Part.MINOR, "the class modules are put together otherwise")


def test_other_words_of_a_composition_are_a_patch(compositions: Compositions) -> None:
    members = [compositions.cat, compositions.dog]
    after = compositions.make(
        "acme/pets", members, "1.0.1", summary="Pets", changed={"measured": at(0.9)}
    )
    assert needed(compositions.check_other(after))[0] == Part.PATCH


def test_a_composition_that_claims_too_little_is_refused(compositions: Compositions) -> None:
    with pytest.raises(ModpmError) as caught:
        compositions.check("1.1.0", reject=0.5)
    assert caught.value.code == "version-too-low"
    with pytest.raises(ModpmError) as caught:
        compositions.check("1.0.1", [compositions.newer, compositions.dog])
    assert caught.value.code == "version-too-low"


@pytest.mark.parametrize("is_composition_first", [False, True])
def test_a_name_that_stands_for_another_kind_is_another_thing(
    compositions: Compositions, make_distribution: MakeDistribution, is_composition_first: bool
) -> None:
    module = make_distribution("acme/beasts", "1.0.0" if not is_composition_first else "2.0.0")
    version = "2.0.0" if not is_composition_first else "1.0.0"
    composition = compositions.make("acme/beasts", [compositions.cat], version)
    first, second = (composition, module) if is_composition_first else (module, composition)
    compositions.registry.publish([first])
    part, (what,) = needed(compositions.check_other(second))
    assert part == Part.MAJOR
    assert what.startswith("what the name stands for changes from ")


def _with_other_tensors(
    before: Before, version: str, change: Mapping[str, object] | None = None
) -> Path:
    """Write a distribution whose last weight differs."""
    folder = before.write(version, change)
    tensors = folder / "module.safetensors"
    data = tensors.read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    tensors.write_bytes(changed)
    manifest = folder / "manifest.json"
    text = manifest.read_text().replace(digest_bytes(data), digest_bytes(changed))
    manifest.write_text(text)
    return folder
