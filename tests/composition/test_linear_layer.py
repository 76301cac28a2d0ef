"""One linear layer over the scores of all labels, fitted to a few labeled images."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.composition.test_adjusting import composed, modules, sampled
from tests.composition.test_rebuilding import as_published, assert_same
from tests.composition.tiny_origins import CLASSES, images
from tests.composition.tiny_projects import make_project

import modpm
from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.compose import compose_modules, rebuild, record_of
from modpm.core.composition.linear_layer import calibrate, fit_layer
from modpm.core.composition.replacing import replace_module
from modpm.core.errors import ModpmError
from modpm.core.exporting.onnx_export import export_onnx
from modpm.core.finetuning.finetune import check_trainable_further
from modpm.core.formats.composition_manifest import LinearLayer

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.data import ImageData

TURNED = torch.tensor([1, 2, 3, 0])
"""What each class is called by who does not know their names."""


def turned(n: int = 80) -> ImageData:
    """Return images of which each label is said where the classifier says the one before."""
    data = sampled(composed(), n)
    return replace(data, labels=TURNED[data.labels])


def layered() -> Classifier:
    return calibrate(composed(), turned()).classifier


def linear_of(classifier: Classifier) -> LinearLayer:
    assert classifier.composition is not None
    assert isinstance(classifier.composition.linear, LinearLayer)
    return classifier.composition.linear


def drawn(n: int = 60, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    truth = torch.arange(n) % k
    scores = 3 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return scores + 2 * torch.nn.functional.one_hot(truth, k), truth


def test_the_layer_is_the_logistic_regression_of_scikit_learn_on_standardized_scores() -> None:
    scores, truth = drawn()
    mean, scale = scores.mean(0), scores.std(0)
    oracle = LogisticRegression(max_iter=1000, tol=1e-10).fit((scores - mean) / scale, truth)
    expected = torch.from_numpy(oracle.decision_function((scores - mean) / scale))
    found = fit_layer(scores, truth).scores(scores)
    torch.testing.assert_close(
        found - found.mean(1, keepdim=True),
        expected - expected.mean(1, keepdim=True),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_scores_are_log_odds_as_if_each_label_came_as_often_as_not() -> None:
    scores, truth = drawn()
    shares = fit_layer(scores, truth).scores(scores).sigmoid()
    is_label = torch.nn.functional.one_hot(truth, 4).bool()
    said = sum(
        shares[is_label[:, k], k].mean() + shares[~is_label[:, k], k].mean() for k in range(4)
    )
    assert float(said) == pytest.approx(4, abs=1e-4)


def test_a_score_that_never_changes_tells_nothing_and_breaks_nothing() -> None:
    scores, truth = drawn()
    scores[:, 1] = -100.0
    layer = fit_layer(scores, truth)
    assert bool(layer.weight.isfinite().all())
    torch.testing.assert_close(layer.weight[:, 1], torch.zeros(4, dtype=torch.float64))


def test_labels_that_are_said_for_each_other_are_told_apart_by_the_layer() -> None:
    data = turned()
    made = calibrate(composed(), data)
    assert made.judged.is_better
    linear = linear_of(made.classifier)
    assert (linear.n, linear.data_set, linear.fingerprint) == (80, "tiny", data.fingerprint)
    assert linear.before > linear.after
    assert linear.accuracy_after > linear.accuracy_before
    plain = composed().score_images(images(5)).double()
    weight, bias = (torch.tensor(one, dtype=torch.float64) for one in (linear.weight, linear.bias))
    torch.testing.assert_close(
        made.classifier.score_images(images(5)).double(),
        plain @ weight.T + bias,
        rtol=1e-4,
        atol=1e-4,
    )
    assert made.in_words().endswith(": kept")


def test_it_is_counted_with_what_the_classifier_costs() -> None:
    plain, made = composed().cost, layered().cost
    assert made.n_parameters - plain.n_parameters == 4 * 4 + 4
    assert made.macs - plain.macs == 4 * 4
    assert made.size_bytes - plain.size_bytes == 4 * (4 * 4 + 4)


def test_a_classifier_with_a_layer_is_saved_read_rebuilt_and_exported(tmp_path: Path) -> None:
    made = layered()
    made.save(tmp_path / "clf")
    assert_same(Classifier.from_folder(tmp_path / "clf"), made)
    assert_same(rebuild(as_published(made), modules()), made)
    card = (tmp_path / "clf" / "README.md").read_text()
    assert "It was fitted to 80 labeled images of tiny: accuracy" in card
    assert export_onnx(made, tmp_path / "clf.onnx").max_difference < 1e-3


def test_where_the_layer_is_no_better_scores_stay_and_that_is_said() -> None:
    plain = composed()
    kept = calibrate(plain, sampled(plain, 24))
    assert kept.classifier is plain
    assert not kept.judged.is_better
    assert "no better by its standard error, scores stay as they are" in kept.in_words()


def test_another_module_leaves_the_layer_out_for_it_knew_the_one_before() -> None:
    record, labels = record_of(layered()), [one.label for one in modules()]
    other = composed()
    stranger = msgspec.structs.replace(modules()[0].manifest, name="other/bird")
    module = type(modules()[0])(stranger, modules()[0].tensors, "sha256:" + "9" * 64)
    made = replace_module(record, modules(), labels[0], module)
    assert made.composition is not None
    assert not made.composition.linear
    torch.testing.assert_close(made.score_images(images(3)), other.score_images(images(3)))


def test_a_classifier_with_a_layer_is_not_trained_further() -> None:
    with pytest.raises(ModpmError) as caught:
        check_trainable_further(layered())
    assert caught.value.code == "cannot-finetune"
    assert "linear layer" in str(caught.value.why)


@pytest.mark.parametrize("break_it", ["weight", "bias"])
def test_a_saved_layer_of_other_labels_is_damaged(tmp_path: Path, break_it: str) -> None:
    layered().save(tmp_path / "clf")
    path = tmp_path / "clf" / "composition.json"
    document = json.loads(path.read_bytes())
    document["linear"][break_it].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(ModpmError) as caught:
        Classifier.from_folder(tmp_path / "clf")
    assert caught.value.code == "damaged-classifier"


def test_one_label_has_no_layer() -> None:
    with pytest.raises(ModpmError) as caught:
        calibrate(compose_modules(modules()[:1]), sampled(composed(), 20))
    assert caught.value.code == "no-linear-layer"


def test_a_label_without_images_is_refused_with_what_was_found() -> None:
    data = sampled(composed(), 20)
    some = data.select((data.labels != 2).nonzero().squeeze(1))
    with pytest.raises(ModpmError) as caught:
        calibrate(composed(), some)
    assert caught.value.code == "label-without-images"
    assert f"tiny/{CLASSES[2]}: 0" in str(caught.value.why)


def test_votes_are_other_labels_and_leave_the_layer_out(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    plain = modpm.compose(["tiny/cat", "tiny5/cat", "tiny4/frog"], project=project)
    linear = msgspec.structs.replace(
        linear_of(layered()), weight=[[0.0, 1.0, 0.0]] * 3, bias=[0.0] * 3
    )
    assert plain.composition is not None
    composition = msgspec.structs.replace(plain.composition, linear=linear)
    made = Classifier(plain.networks(), plain.labels, None, composition)
    modpm.pack(made, "acme/pets", tmp_path / "dist-pets", project=project)
    alone = modpm.compose([tmp_path / "dist-pets"], project=project)
    torch.testing.assert_close(alone.score_images(images(3)), made.score_images(images(3)))

    voting = modpm.compose([tmp_path / "dist-pets"], ensemble=True, project=project)
    assert len(voting.labels) == 2
    assert voting.weight is None
    assert any("without its linear layer" in reason for reason in voting.reasons)
