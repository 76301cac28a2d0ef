"""What two manifests differ in, one thing at a time (V-9, V-15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from modpm.core.formats.composition_manifest import Adjustment, LinearLayer
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.manifest import CARD_FILE, ComposedAccuracy, FileRecord
from modpm.core.formats.measurement import Measurement
from modpm.registry.publication.version_claims import Part, differences, has_other_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.core.formats.composition_manifest import AnyManifest, CompositionManifest
    from modpm.core.formats.manifest import Manifest

OTHER = FileRecord(size_bytes=1, digest="sha256:" + "1" * 64)


@pytest.fixture
def seven(repository: Path) -> Manifest:
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7"
    return read_distribution(folder).module_manifest


@pytest.fixture
def pets(make_composition: MakeComposition, make_distribution: MakeDistribution) -> AnyManifest:
    members = [make_distribution("digits/cat"), make_distribution("digits/dog")]
    return make_composition("acme/pets", members).manifest


def parts(before: AnyManifest, after: AnyManifest, budget_points: float = 1.0) -> list[Part]:
    return [difference.part for difference in differences(before, after, budget_points)]


def with_recall(manifest: Manifest, recall: float) -> Manifest:
    metrics = [msgspec.structs.replace(one, recall=recall) for one in manifest.metrics]
    return msgspec.structs.replace(manifest, metrics=metrics)


def test_what_is_the_same_differs_in_nothing(seven: Manifest, pets: AnyManifest) -> None:
    assert parts(seven, seven) == parts(pets, pets) == []


@pytest.mark.parametrize(
    "change",
    [
        {"summary": "Sevens"},
        {"license": "MIT"},
        {"authors": ["Ada"]},
        {"requires": ["digits/8"]},
        {"metrics": []},
        {"composed": ComposedAccuracy(split="test", n=9, fused=0.9, independent=0.9)},
        {"kernel_retention_rate": 0.75},
        {"retained": {}},
        {"unknown_keys": {"later": 1}},
    ],
)
def test_whatever_else_a_manifest_says_is_a_patch(
    seven: Manifest, change: Mapping[str, object]
) -> None:
    assert parts(seven, msgspec.structs.replace(seven, **change)) == [Part.PATCH]


@pytest.mark.parametrize(
    ("record", "change"),
    [
        ("origin", {"digest": OTHER.digest}),
        ("provenance", {"seed": 1}),
        ("modularizer", {"method": "another"}),
        ("calibration", {"brier_score": 0.5}),
        ("files", None),
    ],
)
def test_whatever_else_a_part_of_a_manifest_says_is_a_patch(
    seven: Manifest, record: str, change: Mapping[str, object] | None
) -> None:
    old = getattr(seven, record)
    new = {**old, CARD_FILE: OTHER} if change is None else msgspec.structs.replace(old, **change)
    assert parts(seven, msgspec.structs.replace(seven, **{record: new})) == [Part.PATCH]


@pytest.mark.parametrize(
    "change",
    [
        {"summary": "Pets"},
        {"license": "MIT"},
        {"authors": ["Ada"]},
        {"unknown_keys": {"later": 1}},
    ],
)
def test_whatever_else_the_manifest_of_a_composition_says_is_a_patch(
    pets: CompositionManifest, change: Mapping[str, object]
) -> None:
    assert parts(pets, msgspec.structs.replace(pets, **change)) == [Part.PATCH]


def test_the_card_and_the_measurements_of_a_composition_are_a_patch(
    pets: CompositionManifest,
) -> None:
    files = {**pets.files, CARD_FILE: OTHER}
    assert parts(pets, msgspec.structs.replace(pets, files=files)) == [Part.PATCH]
    assert parts(pets, with_measured(pets, [measured(0.9)])) == [Part.PATCH]


def test_a_fall_by_the_whole_budget_is_not_beyond_it(seven: Manifest) -> None:
    before = with_recall(seven, 0.9)
    assert 100 * (0.9 - 0.89) > 1  # as numbers of the machine have it

    assert parts(before, with_recall(seven, 0.89)) == [Part.PATCH]
    assert parts(before, with_recall(seven, 0.8899)) == [Part.MAJOR, Part.PATCH]
    assert parts(before, with_recall(seven, 0.89), budget_points=0.5) == [Part.MAJOR, Part.PATCH]


def test_metrics_on_other_data_are_not_compared(seven: Manifest) -> None:
    provenance = msgspec.structs.replace(seven.provenance, data_set="others")
    elsewhere = msgspec.structs.replace(with_recall(seven, 0.1), provenance=provenance)
    assert parts(seven, elsewhere) == [Part.PATCH]


def test_accuracies_in_the_closed_and_the_open_set_are_two_things(
    pets: CompositionManifest,
) -> None:
    both = [measured(0.7, open_set=True), measured(0.9)]
    before = with_measured(pets, both)

    assert parts(before, before) == []
    fallen = with_measured(pets, [measured(0.6, open_set=True), measured(0.9)])
    assert parts(before, fallen) == [Part.MAJOR, Part.PATCH]
    elsewhere = with_measured(pets, [measured(0.6, open_set=True, fingerprint="g")])
    assert parts(before, elsewhere) == [Part.PATCH]


def test_two_labels_are_not_one_that_reads_like_both(pets: CompositionManifest) -> None:
    first, second = pets.composition.modules
    both = msgspec.structs.replace(first, label=f"{first.label}, {second.label}")
    composition = msgspec.structs.replace(pets.composition, modules=[both])
    after = msgspec.structs.replace(pets, composition=composition)
    assert Part.MAJOR in parts(pets, after)


def test_another_vote_moves_the_second_number(pets: CompositionManifest) -> None:
    def voting(*digits: str) -> CompositionManifest:
        first, second = pets.composition.modules
        modules = [
            msgspec.structs.replace(one, label=first.label, digest=f"sha256:{digit * 64}")
            for one, digit in zip((first, second), digits, strict=True)
        ]
        composition = msgspec.structs.replace(pets.composition, modules=modules)
        return msgspec.structs.replace(pets, composition=composition)

    assert parts(voting("1", "2"), voting("1", "2")) == []
    for changed in (("1", "3"), ("3", "2")):
        assert parts(voting("1", "2"), voting(*changed)) == [Part.MINOR]


def test_other_adjustments_move_the_second_number(pets: CompositionManifest) -> None:
    def adjusted(slope: float, after: float) -> CompositionManifest:
        one = Adjustment(
            origin=OTHER.digest,
            how="labeled",
            slope=slope,
            intercept=0.0,
            data_set="pets",
            fingerprint="f",
            n=9,
            before=1.0,
            after=after,
        )
        composition = msgspec.structs.replace(pets.composition, adjustments=[one])
        return msgspec.structs.replace(pets, composition=composition)

    assert parts(pets, adjusted(2.0, 0.5)) == [Part.MINOR, Part.PATCH]
    assert parts(adjusted(1.0, 0.5), adjusted(2.0, 0.5)) == [Part.MINOR, Part.PATCH]
    assert parts(pets, adjusted(1.0, 0.5)) == [Part.PATCH]
    assert parts(adjusted(2.0, 0.5), adjusted(2.0, 0.25)) == [Part.PATCH]


def test_another_linear_layer_moves_the_second_number(pets: CompositionManifest) -> None:
    def mixed(weight: float, after: float) -> CompositionManifest:
        linear = LinearLayer(
            weight=[[weight, 0.0], [0.0, 1.0]],
            bias=[0.0, 0.0],
            data_set="pets",
            fingerprint="f",
            n=9,
            before=1.0,
            after=after,
            accuracy_before=0.5,
            accuracy_after=0.75,
        )
        composition = msgspec.structs.replace(pets.composition, linear=linear)
        return msgspec.structs.replace(pets, composition=composition)

    assert parts(pets, mixed(2.0, 0.5)) == [Part.MINOR, Part.PATCH]
    assert parts(mixed(1.0, 0.5), mixed(2.0, 0.5)) == [Part.MINOR, Part.PATCH]
    assert parts(mixed(2.0, 0.5), mixed(2.0, 0.25)) == [Part.PATCH]


def test_graph_and_tensors_each_make_another_network(seven: Manifest, pets: AnyManifest) -> None:
    graph = msgspec.structs.replace(
        seven, graph=msgspec.structs.replace(seven.graph, output="logit")
    )
    files = {**seven.files, "module.safetensors": OTHER}

    assert has_other_network(seven, graph)
    assert has_other_network(seven, msgspec.structs.replace(seven, files=files))
    assert not has_other_network(seven, seven)
    assert not has_other_network(seven, pets)


def measured(accuracy: float, *, open_set: bool = False, fingerprint: str = "f") -> Measurement:
    return Measurement(
        data_set="pets",
        split="test",
        fingerprint=fingerprint,
        n=9,
        n_rejected=0,
        accuracy=accuracy,
        open_set=open_set,
    )


def with_measured(
    manifest: CompositionManifest, measurements: Sequence[Measurement]
) -> CompositionManifest:
    composition = msgspec.structs.replace(manifest.composition, measured=list(measurements))
    return msgspec.structs.replace(manifest, composition=composition)
