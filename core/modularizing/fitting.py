"""Class modules of an origin: cut, given their scores, measured, and composed as one classifier."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import torch

from modpm.core.calibrations.scores import (
    FittedScore,
    fit_scores,
    is_clearly_better,
    less_penalty,
)
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.evaluation import average_precision
from modpm.core.composition.fused import fuse
from modpm.core.formats.manifest import (
    MAX_CONFUSED,
    ClassMetrics,
    ComposedAccuracy,
    ConfusedClass,
    Confusion,
)
from modpm.core.graph import Cost, count
from modpm.core.graph.side_by_side import PlainNetwork
from modpm.core.graph.stored_weights import stored
from modpm.core.modularizing.cutting import (
    ScoredNetwork,
    cut,
    kernel_retention_rate,
    with_score,
    with_statistics,
)
from modpm.core.modularizing.description import Findings
from modpm.core.modularizing.reading import (
    n_statistics_images,
    read_cuts,
    read_scores,
    take_statistics,
)
from modpm.core.origins.origin import HELD_OUT, N_DIGITS, TEST
from modpm.core.training.inference import accuracy, normalizing, predict
from modpm.core.training.learned_corrections import learn_corrections
from modpm.core.training.one_vs_rest import OneVsRest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from torch import Tensor

    from modpm.core.classifiers.class_module import Scorer
    from modpm.core.formats.manifest import Manifest
    from modpm.core.modularizing.cutting import CutNetwork, Retained
    from modpm.core.modularizing.description import Describer
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.origins.unusual import Penalty
    from modpm.core.training.evidence import Cutoff


MOST_FOR_PENALTY = 0.05
"""The share of a module's bytes that what is taken off scores of unusual images may have."""

AT_ONCE = 16
"""Classes that share a pass over the held-out images, and memory for what is read of them."""


@dataclass(frozen=True)
class FittedNetwork:
    """The network of one class, with its score.

    Attributes:
        class_index: The class's position among the origin's outputs.
        retained: What it retains of the origin's layers.
        kernel_retention_rate: Retained kernels / all kernels.
        scored: The network.
        fitted: How its score was made.
        cost: What it costs.
        corrections: How what it normalizes was corrected once it was cut, as manifests say it;
            empty where that was no better on held-out images by more than the standard error.
    """

    class_index: int
    retained: Retained
    kernel_retention_rate: float
    scored: ScoredNetwork
    fitted: FittedScore
    cost: Cost
    corrections: Mapping[str, int] = field(default_factory=dict)

    @property
    def stored(self) -> dict[str, Tensor]:
        """Its tensors as they are written."""
        return stored(self.scored.graph, self.scored.tensors)

    def module(self, manifest: Manifest) -> ClassModule:
        """Return the class module of that manifest."""
        return ClassModule(manifest, self.scored.tensors)


def fit_networks(
    origin: OriginNetwork,
    masks: Mapping[str, Tensor],
    calibration: str,
    progress: Callable[[int, int], None],
    *,
    has_penalty: bool = True,
) -> list[FittedNetwork]:
    """Cut and calibrate the network of every class.

    Args:
        origin: The modular network.
        masks: Module masks, by convolution.
        calibration: The name of a calibration, or `auto`.
        progress: Told how many classes are done, and of how many.
        has_penalty: Whether something is taken off the scores of unusual images.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """
    fitted: list[_Fitted] = []
    classes = range(len(origin.classes))
    for start in range(0, len(classes), AT_ONCE):

        def tell(n_done: int, start: int = start) -> None:
            progress(start + n_done, len(classes))

        fitted += _fit_together(origin, masks, classes[start : start + AT_ONCE], calibration, tell)
        progress(len(fitted), len(classes))
    cuts = [one.network for one in fitted]
    penalty = affordable_penalty(origin, cuts) if has_penalty else None
    return [_scored(origin, one, penalty) for one in fitted]


class _Fitted(NamedTuple):
    """A cut network, how its score is made, and how its normalized values were corrected."""

    network: CutNetwork
    score: FittedScore
    corrections: Mapping[str, int]


def affordable_penalty(origin: OriginNetwork, cuts: Sequence[CutNetwork]) -> Penalty | None:
    """Return the penalty of unusual images, where it is little beside the smallest module."""
    smallest = min(sum(tensor.nbytes for tensor in cut.tensors.values()) for cut in cuts)
    penalty = origin.penalty
    if penalty is None or penalty.size_bytes > MOST_FOR_PENALTY * smallest:
        return None
    return penalty


def _fit_together(
    origin: OriginNetwork,
    masks: Mapping[str, Tensor],
    classes: Sequence[int],
    calibration: str,
    tell: Callable[[int], None],
) -> list[_Fitted]:
    cuts = [cut(origin.graph, origin.tensors, masks, i) for i in classes]
    best = _fitted(origin, cuts, calibration)
    found = take_statistics(cuts, origin)
    if not any(found):
        return best
    anew = [with_statistics(one, own) for one, own in zip(cuts, found, strict=True)]
    corrections = {"statistics_images": n_statistics_images(origin)}
    best = _better(origin, best, _fitted(origin, anew, calibration, corrections))
    n_steps = origin.trained.effort.correction_steps
    if not n_steps:
        return best
    learned = []
    for plain, corrected in zip(cuts, anew, strict=True):
        learned.append(
            _learned(origin, corrected, corrected.tensors.keys() - plain.tensors, n_steps)
        )
        tell(len(learned))
    corrections = {**corrections, "correction_steps": n_steps}
    return _better(origin, best, _fitted(origin, learned, calibration, corrections))


def _learned(
    origin: OriginNetwork, network: CutNetwork, corrections: AbstractSet[str], n_steps: int
) -> CutNetwork:
    """Return a network with what it learned in place of its corrections, if it has any."""
    if not corrections:
        return network
    lesson = OneVsRest(origin.training_images, network.class_index, n_steps, origin.network)
    plain = PlainNetwork(network.graph, network.tensors)
    found = learn_corrections(plain, sorted(corrections), lesson)
    return replace(network, tensors=network.tensors | found)


def _fitted(
    origin: OriginNetwork,
    cuts: Sequence[CutNetwork],
    calibration: str,
    corrections: Mapping[str, int] = MappingProxyType({}),
) -> list[_Fitted]:
    scores = _scores(origin, cuts, calibration)
    return [_Fitted(cut, score, corrections) for cut, score in zip(cuts, scores, strict=True)]


def _better(
    origin: OriginNetwork, some: Sequence[_Fitted], others: Sequence[_Fitted]
) -> list[_Fitted]:
    """Return the other network of each class that is better by more than the standard error."""
    labels = origin.validation.labels
    return [
        other
        if is_clearly_better(other.score, one.score, labels == one.network.class_index)
        else one
        for one, other in zip(some, others, strict=True)
    ]


def _scores(
    origin: OriginNetwork, cuts: Sequence[CutNetwork], calibration: str
) -> list[FittedScore]:
    readings = read_cuts(cuts, origin.validation, origin)
    return fit_scores(readings, [one.class_index for one in cuts], calibration, origin.device)


def _scored(origin: OriginNetwork, one: _Fitted, penalty: Penalty | None) -> FittedNetwork:
    network, fitted = one.network, one.score
    scored = with_score(network, fitted.calibrator, penalty)
    if penalty is not None:
        is_class = origin.validation.labels == network.class_index
        fitted = less_penalty(fitted, penalty.held_out, is_class)
    return FittedNetwork(
        network.class_index,
        network.retained,
        kernel_retention_rate(network.retained, origin.own_kernels),
        scored,
        fitted,
        count(scored.graph, scored.tensors),
        one.corrections,
    )


def measure(scores: Tensor, is_class: Tensor, split: str) -> ClassMetrics:
    """Measure a module's scores: precision and recall at a score above 0, average precision.

    Where there is nothing to divide by, a number is 0.

    Args:
        scores: Of each image.
        is_class: Which images show the class.
        split: What the images are called.

    Shapes:
        scores: (N,); is_class: (N,), boolean.
    """
    is_claimed = scores > 0
    n_claimed, n_class = int(is_claimed.sum()), int(is_class.sum())
    n_right = int((is_claimed & is_class).sum())
    return ClassMetrics(
        split=split,
        n=len(scores),
        n_positive=n_class,
        precision=round(n_right / max(1, n_claimed), N_DIGITS),
        recall=round(n_right / max(1, n_class), N_DIGITS),
        average_precision=round(average_precision(scores, is_class), N_DIGITS),
    )


def confusion(
    scores: Tensor, labels: Tensor, class_index: int, classes: Sequence[str], split: str
) -> Confusion:
    """Return of which other classes a module takes images for its own most often.

    Args:
        scores: Its score of each image.
        labels: The class that each image shows.
        class_index: Its own class.
        classes: What classes are called.
        split: What the images are called.

    Shapes:
        scores, labels: (N,)
    """
    n = torch.bincount(labels, minlength=len(classes))
    n_claimed = torch.bincount(labels[scores > 0], minlength=len(classes))
    others = (i for i in range(len(classes)) if i != class_index and n_claimed[i])
    found = [
        ConfusedClass(
            name=classes[i], n=int(n[i]), share=round(float(n_claimed[i] / n[i]), N_DIGITS)
        )
        for i in others
    ]
    found.sort(key=lambda one: -one.share)
    return Confusion(split=split, classes=found[:MAX_CONFUSED])


class Measured(NamedTuple):
    """What the networks of all classes say of images that decided nothing of them.

    Attributes:
        split: What the images are called.
        labels: The class that each shows.
        scores: What each network says.
        metrics: How good each network is.
        confusions: What each takes for its class.

    Shapes:
        labels: (N,); scores: (N, n_classes)
    """

    split: str
    labels: Tensor
    scores: Tensor
    metrics: list[ClassMetrics]
    confusions: list[Confusion]


def measure_networks(
    origin: OriginNetwork,
    networks: Sequence[FittedNetwork],
    progress: Callable[[int, int], None],
) -> Measured:
    """Measure every class's network on images that decided nothing of it.

    They are the test images, if there are any; otherwise the held-out training images, each
    scored by a calibrator that was fitted on the other half of them.

    Args:
        origin: The modular network.
        networks: Of its classes.
        progress: Told how many classes are done, and of how many.
    """
    found = []
    for start in range(0, len(networks), AT_ONCE):
        found.append(_scores_together(origin, networks[start : start + AT_ONCE]))
        progress(min(start + AT_ONCE, len(networks)), len(networks))
    scores = torch.cat(found, dim=1)
    data, split = origin.validation, HELD_OUT
    if origin.test is not None:
        data, split = origin.test, TEST
    each = list(zip(scores.unbind(1), (one.class_index for one in networks), strict=True))
    metrics = [measure(own, data.labels == i, split) for own, i in each]
    confusions = [confusion(own, data.labels, i, origin.classes, split) for own, i in each]
    return Measured(split, data.labels, scores, metrics, confusions)


def _scores_together(origin: OriginNetwork, networks: Sequence[FittedNetwork]) -> Tensor:
    if origin.test is None:
        return torch.stack([network.fitted.held_out_scores for network in networks], dim=1)
    return read_scores([network.scored for network in networks], origin.test, origin)


def findings_of(
    describer: Describer,
    networks: Sequence[FittedNetwork],
    measured: Measured,
    composed: ComposedAccuracy | None = None,
) -> list[Findings]:
    """Return what the manifest of each class's module says of measurements.

    Args:
        describer: Of the origin.
        networks: Of all classes, in their order.
        measured: What they said.
        composed: What they give together.
    """
    own_scores = describer.own_scores(networks)
    return [
        Findings([metrics], composed, own, confused)
        for metrics, own, confused in zip(
            measured.metrics, own_scores, measured.confusions, strict=True
        )
    ]


def modules_of(
    networks: Sequence[FittedNetwork], describer: Describer, cutoff: Cutoff
) -> list[ClassModule]:
    """Return networks as class modules of which nothing is measured yet, to be composed."""
    return [network.module(describer.manifest(network, cutoff)) for network in networks]


def compose_all(
    origin: OriginNetwork, networks: Sequence[FittedNetwork], modules: Sequence[ClassModule]
) -> tuple[ComposedAccuracy, Scorer]:
    """Measure both compositions of all classes on the held-out images; return the fused one too.

    Apart, an image's score is that of a calibrator that was fitted on the other half of them.

    Args:
        origin: The modular network.
        networks: Of its classes.
        modules: The same, as class modules.
    """
    data = origin.validation
    fused = fuse(modules, [module.label for module in modules])
    scores = torch.stack([network.fitted.held_out_scores for network in networks], dim=1)
    prepare = normalizing(origin.contract)
    fused_scores = predict(fused.network, data.pixels, prepare, device=origin.device)
    measured = ComposedAccuracy(
        split=HELD_OUT,
        n=len(data),
        fused=round(accuracy(fused_scores, data.labels), N_DIGITS),
        independent=round(accuracy(scores, data.labels), N_DIGITS),
    )
    return measured, fused
