"""A run becomes distributions: what is in them, and what a user can get wrong."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

import modpm
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules, keep_independent
from modpm.core.errors import ModpmError
from modpm.core.estimating.together import Member, cost_together
from modpm.core.formats.digest import digest_file
from modpm.core.formats.distribution import verify_distribution, write_distribution
from modpm.core.formats.manifest import SHARES, ComposedAccuracy, Confusion, OwnScores
from modpm.core.graph import count
from modpm.core.modularizing import description
from modpm.core.modularizing.cutting import kernel_retention_rate
from modpm.core.modularizing.fitting import fit_networks, measure
from modpm.core.modularizing.modularize import modularize
from modpm.core.shown_text import Percent
from modpm.core.tensors import load_tensors, save_tensors
from modpm.core.training.inference import accuracy
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.data import ImageData
    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.origins.origin import OriginNetwork


def test_every_class_becomes_a_distribution_that_verifies(made: Modularization) -> None:
    verified = [verify_distribution(one.folder, one.digest) for one in made.distributions]
    names = [one.manifest.name for one in verified]
    assert names == [f"digits/{i}" for i in range(10)]


def test_manifests_say_what_the_modules_are(made: Modularization, origin: OriginNetwork) -> None:
    for i, manifest in enumerate(made.manifests):
        module = ClassModule.from_folder(made.distributions[i].folder)
        cost = count(module.graph, module.tensors)
        retained = {conv: manifest.retained[conv].retained for conv in origin.kernels}
        assert manifest.label == f"digits/{origin.classes[i]}"
        assert manifest.output.class_index == i
        assert manifest.origin.digest == origin.digest
        assert manifest.origin.classes == list(origin.classes)
        assert (manifest.n_parameters, manifest.macs) == (cost.n_parameters, cost.macs)
        assert manifest.size_bytes == cost.size_bytes
        assert manifest.macs < manifest.origin.macs
        assert manifest.kernel_retention_rate == kernel_retention_rate(retained, origin.kernels)
        assert manifest.provenance.fingerprint == origin.trained.images.fingerprint
        assert manifest.calibration.n == len(origin.validation)


def test_modules_alone_know_their_class(made: Modularization, small_run: Run) -> None:
    """Far from the digits' best: 8 epochs of a narrow network."""
    data = small_run.data("test")
    for i, (one, manifest) in enumerate(zip(made.distributions, made.manifests, strict=True)):
        scores = ClassModule.from_folder(one.folder).score_images(data.images)
        found = measure(scores, data.labels == i, "test")
        (said,) = manifest.metrics
        assert (said.split, said.n, said.n_positive) == (found.split, found.n, found.n_positive)
        one_image = 0.03  # rounding may move an image over the threshold
        assert said.precision == pytest.approx(found.precision, abs=one_image)
        assert said.recall == pytest.approx(found.recall, abs=one_image)
        assert found.average_precision > 0.8


def test_what_modules_take_for_their_class_is_recorded(
    made: Modularization, small_run: Run
) -> None:
    data = small_run.data("test")
    n_told = 0
    for one, manifest in zip(made.distributions, made.manifests, strict=True):
        scores = ClassModule.from_folder(one.folder).score_images(data.images)
        assert isinstance(manifest.confusion, Confusion)
        assert manifest.confusion.split == "test"
        for told in manifest.confusion.classes:
            shows = data.labels == manifest.origin.classes.index(told.name)
            assert told.n == int(shows.sum())
            one_image = 1.5 / told.n  # rounding may move an image over the threshold
            found = float((scores[shows] > 0).double().mean())
            assert told.share == pytest.approx(found, abs=one_image)
            n_told += 1
    assert n_told > 0


def test_what_all_modules_have_in_common_is_one_file_in_each(
    made: Modularization, small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(description, "SHARED_BYTES", 1)
    split = modularize(Run.open(small_run.folder), output=tmp_path / "split")
    (shared,) = {one.manifest.files["shared.safetensors"].digest for one in split.distributions}
    for one, other in zip(split.distributions, made.distributions, strict=True):
        path = one.folder / "shared.safetensors"
        assert digest_file(path) == shared
        own, common = load_tensors(path.with_name("module.safetensors")), load_tensors(path)
        whole = ClassModule.from_folder(other.folder).tensors
        assert own.keys() & common.keys() == set()
        assert own.keys() | common.keys() == whole.keys()
        assert all(torch.equal({**own, **common}[name], whole[name]) for name in whole)
        assert one.module_manifest.graph == other.module_manifest.graph
        verify_distribution(one.folder, one.digest)
    check_costs([ClassModule.from_folder(one.folder) for one in split.distributions])


def check_costs(modules: Sequence[ClassModule]) -> None:
    """Check that modules cost together, once composed, what manifests can tell, or less.

    Mask generators are cut to the kernels that are left of a layer, which no manifest tells.
    """
    found = cost_together([Member(one.manifest, one.manifest.files) for one in modules])
    composed = keep_independent(modules, [module.label for module in modules]).cost
    assert composed.macs <= found.together.macs <= 1.01 * composed.macs < found.one_by_one.macs
    assert composed.n_parameters <= found.together.n_parameters < found.one_by_one.n_parameters
    assert found.together.size_bytes < found.one_by_one.size_bytes


def test_the_same_run_gives_the_same_bytes(
    made: Modularization, small_run: Run, tmp_path: Path
) -> None:
    again = modularize(Run.open(small_run.folder), output=tmp_path / "again")
    assert [one.digest for one in again.distributions] == [one.digest for one in made.distributions]
    for name in ("modules.json", "README.md"):
        assert (again.folder / name).read_bytes() == (made.folder / name).read_bytes()


def test_test_images_that_the_network_was_trained_with_are_told(
    small_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(small_run.folder, tmp_path / "run")
    digests = small_run.data("test").image_digests
    assert small_run.n_trained_on(small_run.data("test")) == 0
    save_tensors(tmp_path / "run" / "images.safetensors", {"digests": digests[:7]})
    said: list[str] = []
    modularize(tmp_path / "run", output=tmp_path / "dist", report=said.append)
    assert said == [f"the network was trained with 7 of the {len(digests)} test images"]


def test_the_balanced_accuracy_of_the_network_stands_beside_its_accuracy(
    made: Modularization, origin: OriginNetwork, small_run: Run
) -> None:
    data = small_run.data("test")
    is_right = origin.logits(data).argmax(1) == data.labels
    recalls = [float(is_right[data.labels == label].double().mean()) for label in range(10)]
    said = made.to_json()["origin"]
    assert said["balanced_accuracy"] == pytest.approx(sum(recalls) / 10, abs=1e-6)
    assert said["balanced_accuracy"] != said["accuracy"]
    shown = f"{Percent(said['accuracy'])} (balanced {Percent(said['balanced_accuracy'])})"
    assert shown in (made.folder / "README.md").read_text()


def test_manifests_record_what_both_compositions_of_all_classes_gave(
    made: Modularization, small_run: Run
) -> None:
    first, *others = (manifest.composed for manifest in made.manifests)
    assert isinstance(first, ComposedAccuracy)
    assert all(other == first for other in others)
    data = small_run.validation_data()
    assert (first.split, first.n) == ("train, held out", len(data))
    modules = [ClassModule.from_folder(one.folder) for one in made.distributions]
    scores = compose_modules(modules, "fused").score_images(data.images)
    assert first.fused == pytest.approx(accuracy(scores, data.labels), abs=1e-6)
    scores = compose_modules(modules, "independent").score_images(data.images)
    # The record is of cross-fitted scores, these are not.
    assert first.independent == pytest.approx(accuracy(scores, data.labels), abs=0.05)
    # Composing chooses by the record.
    assert f"{Percent(first.fused)} fused" in compose_modules(modules).reasons[0]


def test_a_calibration_of_another_package_makes_the_scores(small_run: Run, tmp_path: Path) -> None:
    kind = "tests.modularizing.calibrators:Midpoint"
    made = modularize(small_run, output=tmp_path / "dist", calibration=kind, measure_on="held-out")
    assert {m.calibration.kind for m in made.manifests} == {kind}
    modules = [ClassModule.from_folder(one.folder) for one in made.distributions[:3]]
    graph, data = modules[0].graph, small_run.validation_data().select(range(200))
    assert graph.node("score").operator == "channel_affine"
    apart = compose_modules(modules, "independent")
    chosen = torch.isin(data.labels, torch.arange(3))
    found = apart.score_images(data.images[chosen]).argmax(1)
    assert accuracy(F.one_hot(found, 3), data.labels[chosen]) > 0.8


def test_manifests_publish_how_high_cross_fitted_scores_of_their_images_are(
    made: Modularization, origin: OriginNetwork
) -> None:
    networks = fit_networks(origin, made.masks, "auto", lambda _done, _of: None)
    fitted = np.stack([one.fitted.held_out_scores.numpy() for one in networks], 1)
    for i, manifest in enumerate(made.manifests):
        is_class, scores = (origin.validation.labels == i).numpy(), manifest.own_scores
        assert isinstance(scores, OwnScores)
        assert scores.n == is_class.sum()
        own, highest = fitted[is_class, i], fitted[is_class].max(1)
        for found, of in ((scores.own, own), (scores.highest, highest)):
            np.testing.assert_allclose(found, np.quantile(of, SHARES), atol=1e-4)


def test_a_threshold_by_a_share_rejects_about_that_share(
    made: Modularization, small_run: Run
) -> None:
    data = small_run.validation_data()
    modules = [ClassModule.from_folder(one.folder) for one in made.distributions]
    classifier = compose_modules(modules, reject="auto", false_rejections=0.2)
    rejected = classifier.decide(classifier.score_images(data.images)) == -1
    assert 0.05 < float(rejected.double().mean()) < 0.3


def test_modules_of_one_run_have_one_calibration_of_the_logits(made: Modularization) -> None:
    pairs = {(m.calibration.slope, m.calibration.intercept) for m in made.manifests}
    assert len(pairs) == 1
    assert pairs.pop()[0] > 0


def test_what_was_made_is_summed_up_as_json(made: Modularization) -> None:
    record: dict[str, Any] = json.loads((made.folder / "modules.json").read_bytes())
    assert set(record) >= {"kernel_retention_rate", "cohesion", "coupling", "threshold", "curve"}
    size = {"n_parameters", "size_bytes", "macs"}
    assert set(record["origin"]) == {"digest", "accuracy", "balanced_accuracy", *size}
    wanted = {"name", "version", "path", "kernel_retention_rate", "n_parameters", "size_bytes"}
    wanted |= {"macs", "precision", "recall", "average_precision"}
    for module in record["modules"]:
        assert wanted <= set(module)
        assert (made.folder / module["path"] / "manifest.json").is_file()
    rates = [module["kernel_retention_rate"] for module in record["modules"]]
    assert record["kernel_retention_rate"] == pytest.approx(sum(rates) / 10)
    assert 0 <= record["coupling"] <= 1
    assert 0 < record["cohesion"] <= 1


def test_masks_give_the_pictures_of_overlap_and_retention(made: Modularization) -> None:
    assert made.overlap.shape == (10, 10)
    n_convs = len(made.origin.graph.kernels())
    assert made.retention.shape == (10, n_convs)
    assert bool((made.retention[:, 0] == 1).all())
    kernels = torch.tensor(list(made.origin.graph.kernels().values()), dtype=torch.float32)
    rates = made.retention @ kernels / kernels.sum()
    expected = torch.tensor([m.kernel_retention_rate for m in made.manifests])
    torch.testing.assert_close(rates, expected)


def test_without_a_test_split_metrics_come_of_cross_fitting(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Run.data

    def without_test(run: Run, split: str) -> ImageData:
        if split == "test":
            raise ModpmError("no such split", code="split-not-found")
        return load(run, split)

    monkeypatch.setattr(Run, "data", without_test)
    made = modularize(small_run, output=tmp_path / "dist", calibration="platt")
    assert made.origin.accuracy is None
    assert {m.metrics[0].split for m in made.manifests} == {"train, held out"}
    assert {m.calibration.kind for m in made.manifests} == {"platt"}


def test_details_of_the_releases_are_taken_over(small_run: Run, tmp_path: Path) -> None:
    made = modpm.modularize(
        str(small_run.folder),
        output=str(tmp_path / "dist"),
        threshold=0.5,
        namespace="My_Digits",
        version="v2.0",
        license="apache-2.0",
        authors=["Ada"],
        summary="Numbers.",
        measure_on="held-out",
    )
    manifest = made.manifests[3]
    assert (manifest.name, manifest.version) == ("my-digits/3", "2.0")
    assert (manifest.license, manifest.authors, manifest.summary) == (
        "Apache-2.0",
        ["Ada"],
        "Numbers.",
    )
    assert "SPDX-License-Identifier: Apache-2.0" in (made.folder / "3" / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"threshold": 0}, "invalid-threshold"),
        ({"threshold": 1.5}, "invalid-threshold"),
        ({"threshold": "most"}, "invalid-threshold"),
        ({"threshold": "auto", "budget": -1.0}, "bad-setting"),
        ({"budget": float("nan")}, "bad-setting"),
        ({"namespace": "no/slash"}, "invalid-name"),
        ({"version": "one"}, "invalid-version"),
        ({"version": "1.0+here"}, "invalid-version"),
        ({"license": "Do What You Like"}, "invalid-license"),
        ({"summary": "x" * 501}, "bad-setting"),
        ({"calibration": "guess"}, "unknown-calibration"),
        ({"measure_on": "train"}, "bad-setting"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused_before_any_work(
    small_run: Run, tmp_path: Path, setting: dict[str, Any], code: str
) -> None:
    with pytest.raises(ModpmError) as refusal:
        modularize(small_run, output=tmp_path / "dist", **setting)
    assert refusal.value.code == code
    assert refusal.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def refused(run: Run | Path, output: Path) -> str:
    with pytest.raises(ModpmError) as refusal:
        modularize(run, output=output)
    assert refusal.value.exit_code == 1
    return refusal.value.code


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, tmp_path / "dist") == "run-not-found"
    assert refused(tmp_path / "missing", tmp_path / "dist") == "run-not-found"


def test_a_folder_with_something_in_it_is_left_alone(small_run: Run, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "mine").write_text("mine")
    assert refused(small_run, tmp_path / "dist") == "folder-exists"
    assert (tmp_path / "dist" / "mine").read_text() == "mine"


def test_a_run_that_is_not_finished_is_refused(small_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run.folder, folder)
    (folder / "finished.json").unlink()
    assert refused(folder, tmp_path / "dist") == "run-unfinished"


def test_a_run_whose_data_has_changed_is_refused(small_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run.folder, folder)
    text = (folder / "run.json").read_text()
    fingerprint = small_run.record.fingerprint
    (folder / "run.json").write_text(text.replace(fingerprint, f"sha256:{'0' * 64}"))
    assert refused(folder, tmp_path / "dist") == "data-changed"
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_goes_wrong_while_writing_nothing_is_left(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    written: list[Path] = []

    def fail_at_third(folder: Path, *arguments: Any) -> Any:  # noqa: ANN401 -- passed on
        written.append(folder)
        if len(written) == 3:
            raise raised
        return write_distribution(folder, *arguments)

    name = "modpm.core.modularizing.modularize.write_distribution"
    monkeypatch.setattr(name, fail_at_third)
    with pytest.raises((ModpmError, KeyboardInterrupt)) as failure:
        modularize(small_run, output=tmp_path / "dist", calibration="platt", measure_on="held-out")
    if isinstance(failure.value, ModpmError):
        assert failure.value.code == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_scores_are_those_of_counting() -> None:
    scores = torch.tensor([2.0, 1.0, -1.0, 0.5, -2.0])
    is_class = torch.tensor([True, False, True, True, False])
    found = measure(scores, is_class, "test")
    assert (found.n, found.n_positive) == (5, 3)
    assert found.precision == round(2 / 3, 6)
    assert found.recall == round(2 / 3, 6)
    assert found.average_precision == round((1 + 2 / 3 + 3 / 4) / 3, 6)


def test_metrics_of_a_class_without_images_or_claims_are_numbers() -> None:
    none = measure(torch.tensor([-1.0, -2.0]), torch.tensor([False, False]), "test")
    assert (none.precision, none.recall, none.average_precision) == (0.0, 0.0, 0.0)
