"""Calibrated scores: against scikit-learn, and what a score means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from tests.modularizing.calibrators import fit
from torch import Tensor

from modpm.core import named_classes
from modpm.core.calibrations import HEAD, PLATT, find_calibration
from modpm.core.calibrations import scores as calibration
from modpm.core.calibrations.calibration import Calibration
from modpm.core.calibrations.logistic import fit_logistic, smoothed_targets
from modpm.core.calibrations.scores import (
    AUTO,
    FittedScore,
    Readings,
    balanced_mean,
    fit_common_platt,
    fit_scores,
    stratified_folds,
)
from modpm.core.errors import ModpmError

NONE = torch.zeros(0)


def gaussian_logits(n_class: int, n_other: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give two normal densities of unit variance, 2 apart: their true log-odds is 2 x - 2."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_class + n_other, generator=generator)
    is_class = torch.arange(n_class + n_other) < n_class
    return logits + 2.0 * is_class, is_class


def fit_score(readings: Readings, label: int, kind: str = AUTO) -> FittedScore:
    (fitted,) = fit_scores([readings], [label], kind)
    return fitted


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 30.0]))
def test_logistic_regression_is_that_of_scikit_learn(seed: int, ridge: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    is_class = torch.rand(60, generator=generator) < (inputs[:, 0] * 2).sigmoid()
    is_class[:2] = torch.tensor([True, False])
    # Another problem beside it, which takes other steps.
    both = torch.stack([inputs, 5 * inputs.flip(0)])
    targets = torch.stack([is_class, is_class.roll(1)]).double()
    weights, biases = fit_logistic(both, targets, torch.full((2, 3), ridge, dtype=torch.float64))
    weight, bias = weights[0], float(biases[0])
    oracle = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=5000)
    oracle.fit(inputs.numpy(), is_class.numpy())
    np.testing.assert_allclose(weight.numpy(), oracle.coef_[0], atol=1e-5)
    assert bias == pytest.approx(float(oracle.intercept_[0]), abs=1e-5)


@pytest.mark.parametrize(("n_class", "n_other"), [(4000, 4000), (800, 8000), (8000, 800)])
def test_a_score_is_the_log_of_the_likelihood_ratio_whatever_share_the_class_has(
    n_class: int, n_other: int
) -> None:
    logits, is_class = gaussian_logits(n_class, n_other)
    platt = fit(PLATT, NONE.reshape(len(logits), 0), logits, is_class)
    slope_error, bias_error = 0.15, 0.2  # three standard errors of the rarest case
    assert float(platt.fitted["weight"]) == pytest.approx(2.0, abs=slope_error)
    assert float(platt.fitted["bias"]) == pytest.approx(-2.0, abs=bias_error)


def test_modules_of_origins_of_few_and_of_many_classes_compare_fairly() -> None:
    """Ten classes or a hundred: an image that is as typical of both has nearly equal scores."""
    scores = []
    for n_classes in (10, 100):
        logits, is_class = gaussian_logits(1000, 1000 * (n_classes - 1) // 10)
        platt = fit(PLATT, NONE.reshape(len(logits), 0), logits, is_class)
        scores.append(platt.scores(NONE.reshape(1, 0), torch.tensor([2.0])))
    assert float((scores[0] - scores[1]).abs()) < 0.3


def test_images_of_no_class_are_scored_below_0_and_those_of_the_class_above() -> None:
    logits, is_class = gaussian_logits(300, 2700)
    platt = fit(PLATT, NONE.reshape(len(logits), 0), logits, is_class)
    scores = platt.scores(NONE.reshape(len(logits), 0), logits)
    balanced_accuracy = 0.84  # of the best rule: the normal distribution at one deviation
    assert float((scores > 0)[is_class].float().mean()) == pytest.approx(
        balanced_accuracy, abs=0.05
    )
    assert float((scores < 0)[~is_class].float().mean()) == pytest.approx(
        balanced_accuracy, abs=0.05
    )


def test_separable_classes_get_finite_scores() -> None:
    logits = torch.cat([torch.full((5,), 8.0), torch.full((45,), -8.0)])
    is_class = logits > 0
    for kind in (PLATT, HEAD):
        calibrator = fit(kind, logits[:, None], logits, is_class)
        scores = calibrator.scores(logits[:, None], logits)
        assert torch.isfinite(scores).all()
        assert (scores[is_class] > 1).all()
        assert (scores[~is_class] < -1).all()


def test_constant_logits_and_features_say_nothing() -> None:
    is_class = torch.arange(20) < 5
    for kind in (PLATT, HEAD):
        calibrator = fit(kind, torch.zeros(20, 3), torch.ones(20), is_class)
        scores = calibrator.scores(torch.zeros(20, 3), torch.ones(20))
        np.testing.assert_allclose(scores.numpy(), 0.0, atol=1e-6)


def test_smoothed_targets_are_those_of_platt() -> None:
    both = [[True, False, False, True, False], [False, False, False, True, False]]
    targets = smoothed_targets(torch.tensor(both)).tolist()
    assert targets == [[3 / 4, 1 / 5, 1 / 5, 3 / 4, 1 / 5], [*[1 / 6] * 3, 2 / 3, 1 / 6]]


def test_a_head_on_useless_features_is_nearly_platt() -> None:
    logits, is_class = gaussian_logits(500, 4500)
    noise = torch.randn(5000, 4, generator=torch.Generator().manual_seed(1))
    platt = fit(PLATT, noise, logits, is_class)
    head = fit(HEAD, noise, logits, is_class)
    gap = (platt.scores(noise, logits) - head.scores(noise, logits)).square().mean().sqrt()
    assert float(gap) < 0.2


def test_auto_takes_the_head_where_features_help_and_platt_where_they_do_not() -> None:
    logits, is_class = gaussian_logits(200, 800)
    generator = torch.Generator().manual_seed(1)
    labels = (~is_class).long()
    helpful = torch.randn(1000, 1, generator=generator) + 2.0 * is_class[:, None]
    noise = torch.randn(1000, 60, generator=generator)
    assert fit_score(Readings(helpful, logits, labels), 0).calibrator.kind == HEAD
    assert fit_score(Readings(noise, logits, labels), 0).calibrator.kind == PLATT


def test_held_out_scores_come_of_the_other_half() -> None:
    logits, is_class = gaussian_logits(40, 60)
    labels = (~is_class).long()
    fitted = fit_score(Readings(NONE.reshape(100, 0), logits, labels), 0, PLATT)
    folds = stratified_folds(labels)
    rest = folds != 0
    other = fit(PLATT, NONE.reshape(int(rest.sum()), 0), logits[rest], is_class[rest])
    expected = other.scores(NONE.reshape(int((~rest).sum()), 0), logits[~rest])
    torch.testing.assert_close(fitted.held_out_scores[~rest], expected, rtol=1e-3, atol=1e-5)


def test_folds_divide_every_class() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    folds = stratified_folds(labels)
    assert sorted(folds[labels == 0].tolist()) == [0, 0, 1, 1]
    assert sorted(folds[labels == 1].tolist()) == [0, 1]


def test_one_image_of_a_class_is_enough_for_numbers() -> None:
    logits, labels = torch.tensor([3.0, -1.0, -2.0, 0.0]), torch.tensor([0, 1, 1, 1])
    fitted = fit_score(Readings(logits[:, None], logits, labels), 0)
    assert torch.isfinite(fitted.held_out_scores).all()
    assert np.isfinite([fitted.log_loss, fitted.brier_score]).all()


def test_a_common_calibration_keeps_the_order_of_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (400,), generator=generator)
    logits = torch.randn(400, 5, generator=generator)
    logits[torch.arange(400), labels] += 2
    slope, intercept = fit_common_platt(logits, labels)
    assert slope > 0
    scores = slope * logits + intercept
    assert torch.equal(scores.argmax(1), logits.argmax(1))
    own = scores[torch.arange(400), labels]
    assert float((own > 0).float().mean()) > 0.7


def test_the_class_and_the_rest_weigh_the_same_in_a_balanced_mean() -> None:
    values = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert balanced_mean(values, values > 0) == 0.5
    assert balanced_mean(values[1:], values[1:] > 0) == 0.0


@pytest.mark.parametrize("kind", [AUTO, PLATT, HEAD])
def test_scores_that_are_fitted_at_once_are_those_of_each_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of which each reads another number of features, three of them at a time."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (300,), generator=generator)
    sizes = [3, 0, 7, 2, 4]
    readings = [
        Readings(
            torch.randn(300, n, generator=generator) + 1.5 * (labels == i)[:, None] * (i % 2),
            torch.randn(300, generator=generator) + 2.0 * (labels == i),
            labels,
        )
        for i, n in enumerate(sizes)
    ]
    monkeypatch.setattr(calibration, "N_NUMBERS", 3 * 300 * (max(sizes) + 1))
    found = fit_scores(readings, range(5), kind)
    for i, together in enumerate(found):
        alone = fit_score(readings[i], i, kind)
        assert together.calibrator.kind == alone.calibrator.kind
        torch.testing.assert_close(together.held_out_scores, alone.held_out_scores)
        assert together.log_loss == pytest.approx(alone.log_loss)
        n_read = sizes[i] + 1 if alone.calibrator.reads_features else 1
        nodes, tensors = together.calibrator.nodes("read", n_read, "score")
        assert (nodes, tensors["score.weight"].shape) == (
            alone.calibrator.nodes("read", n_read, "score")[0],
            (1, n_read),
        )
        expected = alone.calibrator.nodes("read", n_read, "score")[1]
        torch.testing.assert_close(tensors, expected, rtol=1e-6, atol=1e-6)


TOY = "tests.modularizing.calibrators:Midpoint"


@pytest.mark.parametrize("name", [PLATT, HEAD, TOY])
def test_a_calibration_is_found_by_its_name(name: str) -> None:
    assert issubclass(find_calibration(name), Calibration)


@pytest.mark.parametrize("name", ["guess", "tests.modularizing.calibrators:Other", "math:pi", ":"])
def test_what_is_no_calibration_is_refused(name: str) -> None:
    with pytest.raises(ModpmError) as refusal:
        find_calibration(name)
    assert (refusal.value.code, refusal.value.exit_code) == ("unknown-calibration", 2)


def test_another_package_names_its_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        value = TOY

    monkeypatch.setattr(named_classes, "entry_points", lambda **_: [Entry])
    assert find_calibration("toy").__name__ == "Midpoint"
