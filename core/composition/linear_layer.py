"""One linear layer: the scores of all labels, made of the scores of all labels (clause M-38).

It is the protocol by which published work lets the module of another network into a network of its
own: a layer over the outputs of both, trained on labeled images. Each column is standardized, and
the weights have a ridge of 1, for the images are few. Of what it gives only differences between
labels are fitted so; one number that all get in common makes log-odds of them.

Source: R. Pan and H. Rajan, *Decomposing convolutional neural networks into reusable and
replaceable modules*, ICSE 2022 (reuse and replacement); the layer is as the default logistic
regression of scikit-learn has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor

from modpm.core.classifiers.classifier import Classifier
from modpm.core.classifiers.saving import not_composed
from modpm.core.composition.labeled import (
    N_DIGITS,
    Judged,
    cross_validate,
    labeled_outputs,
    least,
    told,
)
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import MAX_LAYER_LABELS, MAX_WEIGHT, LinearLayer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.data import ImageData

LEAST_SCALE = 0.01
"""Scores that spread less than this tell nothing."""


class Layer(NamedTuple):
    """A linear layer over the scores of K labels.

    Shapes:
        weight: (K, K), a row for each of the new scores; bias: (K,)
    """

    weight: Tensor
    bias: Tensor

    def scores(self, scores: Tensor) -> Tensor:
        """Return what it makes of scores; (N, K) → (N, K)."""
        return F.linear(scores, self.weight, self.bias)


def fit_layer(scores: Tensor, truth: Tensor) -> Layer:
    """Fit a linear layer to labeled images.

    Args:
        scores: Or logits, of all labels.
        truth: The position of each image's label.

    Shapes:
        scores: (N, K), float64; truth: (N,)
    """
    n = scores.shape[1]
    mean, scale = scores.mean(0), scores.std(0).clamp_min(LEAST_SCALE)
    standardized = (scores - mean) / scale

    def loss(fitted: Tensor) -> Tensor:
        weight, bias = fitted[:, :n], fitted[:, n]
        given = F.linear(standardized, weight, bias)
        return F.cross_entropy(given, truth, reduction="sum") + weight.square().sum() / 2

    fitted = least(loss, (n, n + 1))
    weight = fitted[:, :n] / scale
    layer = Layer(weight, fitted[:, n] - weight @ mean)
    return layer._replace(bias=layer.bias + _level(layer.scores(scores), truth))


def _level(scores: Tensor, truth: Tensor) -> Tensor:
    """Return what makes log-odds under even odds of scores that differ as they should; (1,)."""
    is_label = F.one_hot(truth, scores.shape[1]).to(scores)
    n_of_label = is_label.sum(0)
    weight = is_label / n_of_label + (1 - is_label) / (len(truth) - n_of_label)

    def loss(level: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores + level, is_label, weight, reduction="sum")

    return least(loss, (1,))


class Calibrated(NamedTuple):
    """A classifier for which a linear layer was tried, and what that was found to be worth.

    Attributes:
        classifier: With the layer, where that is better; otherwise as it was.
        judged: By cross-validation.
    """

    classifier: Classifier
    judged: Judged

    def in_words(self) -> str:
        """Return a sentence."""
        is_kept = self.judged.is_better
        return told("one linear layer over all scores, fitted to", self.judged, is_kept=is_kept)


def calibrate(
    classifier: Classifier,
    data: ImageData | Sequence[ImageData],
    mapping: Mapping[str, str] | None = None,
) -> Calibrated:
    """Fit a linear layer over a classifier's scores to images with labels.

    It is kept where cross-validation finds it better by more than its standard error.

    Args:
        classifier: A composed one, without such a layer.
        data: As for `labeled_outputs`.
        mapping: Label to the class it meets, where their names differ.

    Raises:
        ModpmError: It was not composed (`not-composed`), or has one label or too many
            (`no-linear-layer`); what `labeled_outputs` raises.
    """
    if classifier.composition is None:
        raise not_composed()
    _check_labels(classifier.labels)
    labeled = labeled_outputs(classifier, data, mapping)
    scores, truth = classifier.pool(labeled.outputs), labeled.truth

    def refit(rest: Tensor, held_out: Tensor) -> Tensor:
        return fit_layer(scores[rest], truth[rest]).scores(scores[held_out])

    judged = cross_validate(labeled, scores, refit)
    if not judged.is_better:
        return Calibrated(classifier, judged)
    linear = _record(fit_layer(scores, truth), judged)
    composition = msgspec.structs.replace(
        classifier.composition, linear=linear, false_rejections=msgspec.UNSET, measured=[]
    )
    made = Classifier(
        classifier.networks(),
        classifier.labels,
        classifier.reject,
        composition,
        classifier.reasons,
    )
    made.counted = classifier.counted and classifier.counted._replace(together=made.cost)
    return Calibrated(made, judged)


def _record(layer: Layer, judged: Judged) -> LinearLayer:
    weight, bias = (one.clamp(-MAX_WEIGHT, MAX_WEIGHT) for one in layer)
    return LinearLayer(
        weight=torch.round(weight, decimals=N_DIGITS).tolist(),
        bias=torch.round(bias, decimals=N_DIGITS).tolist(),
        **judged.recorded(),
    )


def _check_labels(labels: Sequence[str]) -> None:
    if not 1 < len(labels) <= MAX_LAYER_LABELS:
        raise ModpmError(
            "no linear layer can be fitted over the scores",
            code="no-linear-layer",
            why=f"the classifier has {len(labels)} label{'s' * (len(labels) > 1)}; a layer is of "
            f"2 to {MAX_LAYER_LABELS}",
            hint="leave out `--calibrate`",
        )
