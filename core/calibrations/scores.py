"""The scores of class modules: fitted on held-out training data, and chosen by cross-validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from modpm.core.calibrations import CALIBRATIONS, find_calibration
from modpm.core.calibrations.calibration import Examples
from modpm.core.calibrations.platt import Platt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.calibrations.calibration import Fitted
    from modpm.core.formats.network_graph import Node

AUTO = "auto"
"""For each class, the shipped calibration that is better at images it was not fitted on."""

N_FOLDS = 2

N_NUMBERS = 2**25
"""How many numbers of modules are fitted to at once, in double precision."""

_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class Readings:
    """What a cut network says of images.

    Attributes:
        features: The values that a head reads, side by side.
        logits: The logit of the class.
        labels: The class that each image shows.

    Shapes:
        features: (N, D); logits: (N,); labels: (N,)
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Calibrator:
    """What makes scores of what one module reads.

    Attributes:
        kind: The name of its calibration.
        fitted: What was fitted for the module.
    """

    kind: str
    fitted: Fitted

    @property
    def reads_features(self) -> bool:
        """Whether it reads more than the logit."""
        return find_calibration(self.kind).reads_features

    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the scores; (N, D) and (N,) to (N,), float64."""
        unknown = torch.zeros(1, len(logits), dtype=torch.bool)
        fitted = {name: tensor[None] for name, tensor in self.fitted.items()}
        examples = Examples(features[None], logits[None], unknown)
        return find_calibration(self.kind)().scores(fitted, examples)[0]

    def nodes(self, source: str, n_read: int, score: str) -> tuple[list[Node], Fitted]:
        """Return what makes the score in a graph; as `Calibration.nodes`."""
        return find_calibration(self.kind)().nodes(self.fitted, source, n_read, score)


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


def fit_scores(
    readings: Sequence[Readings],
    classes: Sequence[int],
    kind: str = AUTO,
    device: torch.device = _PROCESSOR,
) -> list[FittedScore]:
    """Fit the scores of modules.

    Args:
        readings: What each says of the same held-out training images.
        classes: What each is to recognize.
        kind: The name of a calibration, or `auto`.
        device: Where networks run; scores are fitted there too if it has double precision.
    """
    kinds = tuple(CALIBRATIONS.shipped) if kind == AUTO else (kind,)
    n_features = max(one.features.shape[1] for one in readings)
    n_at_once = max(1, N_NUMBERS // (len(readings[0].labels) * (n_features + 1)))
    where = device if device.type == "cuda" else _PROCESSOR
    fitted: list[FittedScore] = []
    for start in range(0, len(readings), n_at_once):
        some = slice(start, start + n_at_once)
        examples = _examples(readings[some], classes[some], where)
        folds = stratified_folds(readings[0].labels).to(where)
        each = [_fitted(examples, folds, one) for one in kinds]
        fitted += [min(own, key=lambda f: f.log_loss) for own in zip(*each, strict=True)]
    return fitted


def _examples(
    readings: Sequence[Readings], classes: Sequence[int], device: torch.device
) -> Examples:
    most = max(one.features.shape[1] for one in readings)
    features = [F.pad(one.features, (most - one.features.shape[1], 0)) for one in readings]
    is_class = [one.labels == label for one, label in zip(readings, classes, strict=True)]
    return Examples(
        torch.stack(features).to(device),
        torch.stack([one.logits for one in readings]).to(device),
        torch.stack(is_class).to(device),
    )


def _fitted(examples: Examples, folds: Tensor, kind: str) -> list[FittedScore]:
    calibration = find_calibration(kind)()
    fitted = calibration.fit(examples)
    scores = torch.zeros(examples.logits.shape, dtype=torch.float64, device=folds.device)
    for fold in range(N_FOLDS):
        held, rest = folds == fold, folds != fold
        others = calibration.fit(examples.select(rest), near=fitted)
        scores[:, held] = calibration.scores(others, examples.select(held))
    own = ({name: tensor[i].cpu() for name, tensor in fitted.items()} for i in range(len(scores)))
    both = zip(own, scores.cpu(), examples.is_class.cpu(), strict=True)
    return [_measured(Calibrator(kind, one), held, is_class) for one, held, is_class in both]


def _measured(calibrator: Calibrator, scores: Tensor, is_class: Tensor) -> FittedScore:
    return FittedScore(
        calibrator,
        scores,
        balanced_mean(_log_losses(scores, is_class), is_class),
        balanced_mean((scores.sigmoid() - is_class.double()) ** 2, is_class),
    )


def less_penalty(fitted: FittedScore, penalty: Tensor, is_class: Tensor) -> FittedScore:
    """Return a score less what is taken off for unusual images, measured anew.

    Shapes:
        penalty: (N,), of the images it was fitted on; is_class: (N,), boolean.
    """
    return _measured(fitted.calibrator, fitted.held_out_scores - penalty, is_class)


def is_clearly_better(one: FittedScore, other: FittedScore, is_class: Tensor) -> bool:
    """Whether a score is better than another on held-out images by more than its standard error.

    It never is where the class or the rest has one image alone, of which none can be estimated.

    Shapes:
        is_class: (N,), boolean.
    """
    gains = _log_losses(other.held_out_scores, is_class) - _log_losses(
        one.held_out_scores, is_class
    )
    sides = [gains[is_class], gains[~is_class]]
    if min(map(len, sides)) <= 1:
        return False
    variance = sum(float(side.var()) / len(side) for side in sides) / len(sides) ** 2
    return balanced_mean(gains, is_class) > math.sqrt(variance)


def _log_losses(scores: Tensor, is_class: Tensor) -> Tensor:
    return F.softplus(torch.where(is_class, -scores, scores))


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
    flat = logits.flatten()[None]
    is_class = F.one_hot(labels, logits.shape[1]).bool().flatten()[None]
    fitted = Platt().fit(Examples(flat.new_zeros(*flat.shape, 0), flat, is_class))
    return float(fitted["weight"]), float(fitted["bias"])
