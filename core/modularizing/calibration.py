"""Calibration: the score of a class module, as log-odds, fitted on held-out training data.

A score is the log-odds that the image shows the class *under even odds*: the log of how many
times likelier the image is if it shows the class than if it shows another class of the origin.
The share of the class in the data that the calibration was fitted on is taken out again, for
two reasons. It says how many classes the origin had, not what the image shows, so that leaving
it in would make modules of an origin of a hundred classes lose to modules of one of ten. And
odds are multiplied in by who knows them: composing k classes assumes each as likely as the
others (softmax over the scores), and a module alone claims an image at a score above 0, where
the image speaks for the class more than against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

if TYPE_CHECKING:
    from modpm.core.modularizing.reading import Readings


RIDGE = 10.0
"""Strength of the ridge on weights of standardised features (scikit-learn's C = 0.1)."""

PLATT = "platt"
HEAD = "one-vs-rest-head"
KINDS = (PLATT, HEAD)

N_FOLDS = 2


@dataclass(frozen=True)
class Calibrator:
    """An affine map from what a module reads to its score.

    Attributes:
        kind: `platt`, which reads the logit alone, or `one-vs-rest-head`.
        weight: One for each feature (none for `platt`), then one for the logit.
        bias: The constant.

    Shapes:
        weight: (D + 1,), float64
    """

    kind: str
    weight: Tensor
    bias: float

    @property
    def reads_features(self) -> bool:
        """Whether it reads more than the logit."""
        return self.kind == HEAD

    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the scores; (N, D) and (N,) to (N,), float64."""
        return _inputs(self.kind, features, logits) @ self.weight + self.bias


def fit(
    kind: str,
    features: Tensor,
    logits: Tensor,
    is_class: Tensor,
    near: Calibrator | None = None,
) -> Calibrator:
    """Fit a calibrator of one kind.

    `platt` fits a slope and an intercept to the logit. `one-vs-rest-head` fits a weight to every
    feature too, with a ridge; as the ridge grows it becomes `platt`, because slope and intercept
    are free.

    Args:
        kind: One of `KINDS`.
        features: What a head reads besides the logit.
        logits: What the module's last layer gives.
        is_class: Which images show the class.
        near: A calibrator of the same kind from which it is not far to this one.

    Shapes:
        features: (N, D); logits: (N,); is_class: (N,), boolean.

    Source:
        Platt, Probabilistic outputs for support vector machines (1999), with his smoothed
        targets.
        Departs: the odds of the class in the data are taken out (see the top of this file).
    """
    inputs = _inputs(kind, features, logits)
    mean, scale = inputs.mean(0), inputs.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    ridge = torch.full_like(mean, RIDGE)
    ridge[-1] = 0.0
    targets = smoothed_targets(is_class)
    odds = float(targets.mean().logit())
    start = None
    if near is not None:
        start = near.weight * scale, near.bias + float(near.weight @ mean) + odds
    weight, bias = fit_logistic((inputs - mean) / scale, targets, ridge, start)
    weight = weight / scale
    return Calibrator(kind, weight, bias - float(weight @ mean) - odds)


def _inputs(kind: str, features: Tensor, logits: Tensor) -> Tensor:
    read = features if kind == HEAD else features[:, :0]
    return torch.cat([read, logits[:, None]], dim=1).double()


def smoothed_targets(is_class: Tensor) -> Tensor:
    """Return Platt's targets: (n + 1) / (n + 2) for the n images of the class, 1 / (m + 2) else.

    No target is 0 or 1, so that a class that a threshold separates has finite odds.

    Shapes:
        is_class: (N,), boolean, to (N,), float64.
    """
    n_class = int(is_class.sum())
    n_other = len(is_class) - n_class
    low = torch.tensor(1 / (n_other + 2), dtype=torch.float64)
    return torch.where(is_class, (n_class + 1) / (n_class + 2), low)


@dataclass(frozen=True)
class FittedScore:
    """A calibrator, and how good its kind is on images that it was not fitted on.

    Attributes:
        calibrator: Fitted on all images.
        held_out_scores: The score of each image by a calibrator that was fitted on the others'
            half.
        log_loss, brier_score: Of the held-out scores, the class and the rest weighing the same.

    Shapes:
        held_out_scores: (N,), float64
    """

    calibrator: Calibrator
    held_out_scores: Tensor
    log_loss: float
    brier_score: float


def fit_score(readings: Readings, class_index: int, kind: str = "auto") -> FittedScore:
    """Fit the score of a module.

    Args:
        readings: What the module says of held-out training images.
        class_index: The class that it is to recognise.
        kind: One of `KINDS`, or `auto` for the one that is better at images it was not fitted on.
    """
    kinds = KINDS if kind == "auto" else (kind,)
    return min((_fitted(readings, class_index, one) for one in kinds), key=lambda f: f.log_loss)


def _fitted(readings: Readings, class_index: int, kind: str) -> FittedScore:
    is_class = readings.labels == class_index
    calibrator = fit(kind, readings.features, readings.logits, is_class)
    scores = _held_out_scores(readings, is_class, calibrator)
    return FittedScore(
        calibrator,
        scores,
        balanced_mean(F.softplus(torch.where(is_class, -scores, scores)), is_class),
        balanced_mean((scores.sigmoid() - is_class.double()) ** 2, is_class),
    )


def _held_out_scores(readings: Readings, is_class: Tensor, near: Calibrator) -> Tensor:
    features, logits = readings.features, readings.logits
    folds = stratified_folds(readings.labels)
    scores = torch.zeros(len(folds), dtype=torch.float64)
    for fold in range(N_FOLDS):
        held, rest = folds == fold, folds != fold
        calibrator = fit(near.kind, features[rest], logits[rest], is_class[rest], near)
        scores[held] = calibrator.scores(features[held], logits[held])
    return scores


def stratified_folds(labels: Tensor, n_folds: int = N_FOLDS) -> Tensor:
    """Return the fold of each image: the images of a class go to each fold in turn.

    Shapes:
        labels: (N,) to (N,), integers from 0 to n_folds - 1.
    """
    folds = torch.zeros_like(labels)
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        folds[members] = torch.arange(len(members)) % n_folds
    return folds


def balanced_mean(values: Tensor, is_class: Tensor) -> float:
    """Return the mean over images where the class and the rest weigh one half each.

    Shapes:
        values: (N,); is_class: (N,), boolean. A side without images does not count.
    """
    sides = [values[side] for side in (is_class, ~is_class) if bool(side.any())]
    return float(sum(side.mean() for side in sides) / len(sides))


def fit_common_platt(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Fit one slope and one intercept that make scores of the logits of all classes.

    Being the same for all classes they leave the order of the logits of an image as it is.

    Shapes:
        logits: (N, n_classes); labels: (N,)
    """
    is_class = F.one_hot(labels, logits.shape[1]).bool().flatten()
    flat = logits.flatten()
    calibrator = fit(PLATT, flat[:, None], flat, is_class)
    return float(calibrator.weight[0]), calibrator.bias


MAX_STEPS = 100
MAX_HALVINGS = 40
TOLERANCE = 1e-12
"""Steps end where the next would lower the loss of an image by less than this."""

FLOOR = 1e-9
"""Added to the curvature, so that inputs that repeat each other can be solved for."""


@dataclass(frozen=True)
class _Problem:
    """Inputs with a column of ones, (N, D + 1); targets, (N,); the ridge of each, (D + 1,)."""

    inputs: Tensor
    targets: Tensor
    ridge: Tensor

    def loss(self, theta: Tensor) -> float:
        """Return the summed cross-entropy and the penalty."""
        entropy = F.binary_cross_entropy_with_logits(
            self.inputs @ theta, self.targets, reduction="sum"
        )
        return float(entropy + (self.ridge * theta**2).sum() / 2)

    def newton_step(self, theta: Tensor) -> tuple[Tensor, float]:
        """Return the step to take away, and how much it lowers the loss if it is quadratic.

        The curvature, nearly all of the work, is summed in single precision: it decides how fast
        the steps converge, the gradient to what.
        """
        p = (self.inputs @ theta).sigmoid()
        gradient = self.inputs.T @ (p - self.targets) + self.ridge * theta
        weighted = (self.inputs * (p * (1 - p)).sqrt()[:, None]).float()
        curvature = (weighted.T @ weighted).double() + torch.diag(self.ridge + FLOOR)
        step = torch.linalg.solve(curvature, gradient)
        return step, float(gradient @ step) / 2


def fit_logistic(
    inputs: Tensor, targets: Tensor, ridge: Tensor, start: tuple[Tensor, float] | None = None
) -> tuple[Tensor, float]:
    """Minimise the summed cross-entropy plus half the ridge times the squared weights.

    Args:
        inputs: Numbers of about unit scale.
        targets: Probabilities, none of them 0 or 1 where the ridge is 0.
        ridge: The penalty of each weight; the bias has none.
        start: Weights and a bias that are near; None for zeros.

    Shapes:
        inputs: (N, D); targets: (N,); ridge: (D,); all float64.

    Returns:
        The weights, (D,), and the bias.

    Source:
        Newton's method with halved steps as Lin, Lin and Weng, A note on Platt's probabilistic
        outputs for support vector machines (2007).
    """
    problem = _Problem(F.pad(inputs, (0, 1), value=1.0), targets, F.pad(ridge, (0, 1)))
    theta = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64)
    if start is not None:
        theta = torch.cat([start[0], theta.new_tensor([start[1]])])
    for _ in range(MAX_STEPS):
        step, gain = problem.newton_step(theta)
        if gain < TOLERANCE * len(targets):
            break
        before, theta = theta, _descended(problem, theta, step)
        if theta is before:
            break
    return theta[:-1], float(theta[-1])


def _descended(problem: _Problem, theta: Tensor, step: Tensor) -> Tensor:
    """Take the step, or the first of its half, its quarter … that does not raise the loss."""
    before = problem.loss(theta)
    for _ in range(MAX_HALVINGS):
        if problem.loss(theta - step) <= before:
            return theta - step
        step = step / 2
    return theta
