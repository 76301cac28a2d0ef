"""Evaluation: how right classifiers and class modules are about images with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import NONE_OF_THE_ABOVE, probabilities
from modpm.core.classifiers.preprocessing import unit_pixels
from modpm.core.errors import ModpmError, suggestion
from modpm.core.training.inference import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.data import ImageData
    from modpm.core.data.image_data import Pixels
    from modpm.core.graph import GraphNetwork


def known_labels(subject: Classifier | ClassModule) -> tuple[str, ...]:
    """Return the labels of a classifier, or the one of a class module."""
    return (subject.label,) if isinstance(subject, ClassModule) else subject.labels


def match_labels(
    labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, int]:
    """Return the position of the class that each label meets; one that meets none is left out.

    Args:
        labels: `cifar10/cat`; or a class's own name.
        classes: As the data set names them.
        mapping: Label to class, where their names differ.

    Raises:
        ModpmError: The mapping names what there is not (`unknown-label`, `unknown-class`).
    """
    for label, name in mapping.items():
        _check_known(label, labels, "label")
        _check_known(name, classes, "class")
    positions = {name: i for i, name in enumerate(classes)}
    met = {label: mapping.get(label, _own_name(label, positions)) for label in labels}
    return {label: positions[name] for label, name in met.items() if name in positions}


def _own_name(label: str, positions: Mapping[str, int]) -> str:
    """Return a label without its namespace; a class may have a slash in its own name."""
    return label if label in positions else label.partition("/")[2]


def restrict(classes: Sequence[str], wanted: Sequence[str] | None) -> set[int]:
    """Return the positions of the wanted classes; of all where None.

    Raises:
        ModpmError: The data set has no such class (`unknown-class`).
    """
    if wanted is None:
        return set(range(len(classes)))
    for name in wanted:
        _check_known(name, classes, "class")
    return {list(classes).index(name) for name in wanted}


def _check_known(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        raise ModpmError(
            f"there is no {kind} `{name}`",
            code=f"unknown-{kind}",
            why=f"there are: {', '.join(known)}",
            hint=suggestion(name, known),
            exit_code=2,
        )


@dataclass(frozen=True)
class LabelMetrics:
    """How well one label is told from the others.

    Attributes:
        precision: Share of the images given the label that show it; None where none was.
        recall: Share of the images that show it that were given the label; None where none shows
            it.
        n: How many images show it.
    """

    precision: float | None
    recall: float | None
    n: int


@dataclass(frozen=True)
class KnownMetrics:
    """How well known images, those that some label meets, are told from unknown ones.

    Attributes:
        n_known: How many of the judged images are known.
        auroc: The chance that the highest score of a known image is above that of an unknown one,
            ties counting half, whatever the threshold; None where either are lacking.
        false_rejections: Share of the known images that were none of the above; None where there
            are none.
    """

    n_known: int
    auroc: float | None
    false_rejections: float | None


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one split of a data set.

    Attributes:
        accuracy: Share of the judged images that were judged rightly.
        balanced_accuracy: The mean of that share over the classes, those that no label meets
            counted as one.
        n: How many images were judged.
        n_rejected: How many of them were none of the above.
        n_left_out: How many images of other classes were left out.
        per_class: By label.
        labels: The columns of the confusion matrix but the last.
        classes: The rows of the confusion matrix, as the data set names them.
        confusion: How many images of each class were given each label; the last column is none
            of the above.
        average_precision: Of a class module alone, over all thresholds; None otherwise.
        n_trained_on: How many images of the split the network was trained with, where it can tell.
        known: Of an open set: how well images of the labels are told from all others.
        calibration_error: Of a classifier, as `calibration_error` says, on the images that some
            label meets; None where there are none.
        rightly: Of each of `classes`, how many of its images were judged rightly.
    """

    accuracy: float
    balanced_accuracy: float
    n: int
    n_rejected: int
    n_left_out: int
    per_class: dict[str, LabelMetrics]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: list[list[int]]
    average_precision: float | None = None
    n_trained_on: int | None = None
    known: KnownMetrics | None = None
    calibration_error: float | None = None
    rightly: tuple[int, ...] = ()

    @property
    def share_rejected(self) -> float:
        """Share of the judged images that were none of the above."""
        return self.n_rejected / self.n

    def to_json(self) -> dict[str, Any]:
        """Return the fields that scripts rely on, and the confusion matrix."""
        fields: dict[str, Any] = {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "n": self.n,
            "n_rejected": self.n_rejected,
            "share_rejected": self.share_rejected,
            "n_left_out": self.n_left_out,
            "per_class": {label: vars(metrics) for label, metrics in self.per_class.items()},
            "confusion": {
                "classes": list(self.classes),
                "labels": [*self.labels, None],
                "counts": self.confusion,
            },
        }
        if self.average_precision is not None:
            fields["average_precision"] = self.average_precision
        if self.n_trained_on is not None:
            fields["n_trained_on"] = self.n_trained_on
        if self.known is not None:
            fields["known"] = vars(self.known)
        if self.calibration_error is not None:
            fields["calibration_error"] = self.calibration_error
        return fields


def evaluate(
    subject: Classifier | ClassModule,
    data: ImageData | Sequence[ImageData],
    *,
    classes: Sequence[str] | None = None,
    mapping: Mapping[str, str] | None = None,
    open_set: bool = False,
) -> Evaluation:
    """Measure a classifier or a class module on labeled images.

    A label meets the class of the data set that has the name of its last part; images of classes
    that no label meets are left out. A class module alone answers yes where its score is above
    0, and no otherwise: no counts as none of the above, and all classes take part.

    Args:
        subject: What to measure; a run's network is a classifier too.
        data: Images and labels; or the same images for each of a classifier's `contracts`, which
            are then seen as `predict` sees them.
        classes: Restrict images and outputs to these classes, named as the data set names them.
        mapping: Label to the class it meets, where their names differ.
        open_set: Keep images of classes that no label meets; they must be none of the above.

    Raises:
        ModpmError: No label meets a class (`no-common-class`), an unknown class or label is named
            (`unknown-class`, `unknown-label`), or no image is left (`no-images`).
    """
    prepared = data if isinstance(data, Sequence) else [data]
    data = prepared[0]
    met = match_labels(known_labels(subject), data.classes, mapping or {})
    kept_classes = restrict(data.classes, classes)
    if not kept_classes & set(met.values()):
        raise nothing_in_common(known_labels(subject), data)
    if isinstance(subject, ClassModule):
        return _evaluate_module(subject, data, met, kept_classes)
    # Labels that meet no class of the data compete too, unless the outputs are restricted.
    outputs = [
        i
        for i, label in enumerate(subject.labels)
        if (classes is None if label not in met else met[label] in kept_classes)
    ]
    judged = kept_classes if open_set else kept_classes & set(met.values())
    return _evaluate_classifier(subject, prepared, met, outputs, judged, open_set=open_set)


def _evaluate_classifier(
    classifier: Classifier,
    prepared: Sequence[ImageData],
    met: Mapping[str, int],
    outputs: Sequence[int],
    judged: set[int],
    *,
    open_set: bool,
) -> Evaluation:
    data, labels = prepared[0], [classifier.labels[i] for i in outputs]
    chosen = _images_of(judged, data)
    images = [one.select(chosen).pixels for one in prepared]
    scores = classifier_scores(classifier, images)[:, outputs]
    decisions, truth = classifier.decide(scores), data.labels[chosen]
    class_of_label = _classes_of(labels, met)
    is_known = torch.isin(truth, class_of_label)
    known = None
    if open_set:
        is_rejected = decisions == NONE_OF_THE_ABOVE
        known = known_metrics(scores.max(1).values, is_rejected, is_known)
    confidences, positions = probabilities(scores[is_known]).max(1)
    is_right = class_of_label[positions] == truth[is_known]
    tally = _tally(data, truth, decisions, labels, met, n_left_out=len(data) - len(chosen))
    return replace(tally, known=known, calibration_error=calibration_error(confidences, is_right))


def _classes_of(labels: Sequence[str], met: Mapping[str, int]) -> Tensor:
    """Return the position of the class that each label meets; -1 where it meets none."""
    return torch.tensor([met.get(label, -1) for label in labels])


def classifier_scores(classifier: Classifier, images: Sequence[Pixels]) -> Tensor:
    """Return the scores of images, from one pass of each of a classifier's networks over them.

    Args:
        classifier: Its networks run where they are.
        images: The same images for each of its `contracts`; or once, for all of these.

    Shapes:
        images: uint8 (N, channels, height, width) each → (N, len(labels))
    """
    return classifier.pool(network_outputs(classifier, images))


def network_outputs(classifier: Classifier, images: Sequence[Pixels]) -> Tensor:
    """Return what a classifier's networks say of images, before votes are counted.

    Args:
        classifier: As for `classifier_scores`.
        images: As for `classifier_scores`.

    Shapes:
        images: uint8 (N, channels, height, width) each → (N, all labels of the networks)
    """
    parts = []
    for scorer in classifier.networks():
        place = classifier.contracts.index(scorer.contract)
        own = images[place if len(images) == len(classifier.contracts) else 0]
        parts.append(_scores(scorer.network, classifier.preprocessings[place], own))
    return torch.cat(parts, 1)


def _scores(network: GraphNetwork, preprocessing: nn.Module, images: Pixels) -> Tensor:
    return predict(network, images, lambda pixels: preprocessing(unit_pixels(pixels)))


def _evaluate_module(
    module: ClassModule, data: ImageData, met: Mapping[str, int], kept_classes: set[int]
) -> Evaluation:
    chosen = _images_of(kept_classes, data)
    truth = data.labels[chosen]
    scores = _scores(module.network, module.preprocessing, data.select(chosen).pixels).squeeze(1)
    decisions = torch.where(scores > 0, 0, NONE_OF_THE_ABOVE)
    return _tally(
        data,
        truth,
        decisions,
        [module.label],
        met,
        n_left_out=len(data) - len(chosen),
        average=average_precision(scores, truth == met[module.label]),
    )


def _tally(
    data: ImageData,
    truth: Tensor,
    decisions: Tensor,
    labels: Sequence[str],
    met: Mapping[str, int],
    *,
    n_left_out: int,
    average: float | None = None,
) -> Evaluation:
    """Count decisions: rows are the classes of the images, columns the labels, then none."""
    n_columns = len(labels) + 1
    columns = torch.where(decisions == NONE_OF_THE_ABOVE, len(labels), decisions)
    flat = torch.bincount(truth * n_columns + columns, minlength=len(data.classes) * n_columns)
    counts = flat.view(len(data.classes), n_columns)
    is_right = torch.arange(len(data.classes))[:, None] == _classes_of(labels, met)
    is_unknown = ~is_right.any(1, keepdim=True)
    is_right = torch.cat([is_right, is_unknown], 1)
    present = counts.sum(1).nonzero().squeeze(1).tolist()
    return Evaluation(
        accuracy=int(counts[is_right].sum()) / len(truth),
        balanced_accuracy=_balanced(counts, is_right),
        n=len(truth),
        n_rejected=int(counts[:, -1].sum()),
        n_left_out=n_left_out,
        per_class={
            label: _label_metrics(counts, i, met.get(label)) for i, label in enumerate(labels)
        },
        labels=tuple(labels),
        classes=tuple(data.classes[i] for i in present),
        confusion=counts[present].tolist(),
        average_precision=average,
        rightly=tuple((counts * is_right).sum(1)[present].tolist()),
    )


def _balanced(counts: Tensor, is_right: Tensor) -> float:
    """Return the mean share of right decisions, of each class and of all that must be rejected.

    Shapes:
        counts, is_right: (n_classes, n_columns), as of a confusion matrix.
    """
    n_right, n = (counts * is_right).sum(1), counts.sum(1)
    is_unknown = is_right[:, -1]
    n_right = torch.cat([n_right[~is_unknown], n_right[is_unknown].sum()[None]])
    n = torch.cat([n[~is_unknown], n[is_unknown].sum()[None]])
    return float((n_right[n > 0] / n[n > 0].double()).mean())


def _label_metrics(counts: Tensor, column: int, row: int | None) -> LabelMetrics:
    n_given = int(counts[:, column].sum())
    n_shown = 0 if row is None else int(counts[row].sum())
    n_right = 0 if row is None else int(counts[row, column])
    return LabelMetrics(
        precision=n_right / n_given if n_given else None,
        recall=n_right / n_shown if n_shown else None,
        n=n_shown,
    )


def average_precision(scores: Tensor, is_class: Tensor) -> float:
    """Return the area under the steps of precision over recall; 0 where no image is of the class.

    Images of equal scores are taken together, so that their order does not matter.

    Shapes:
        scores: (N,); is_class: (N,), boolean.
    """
    n_class = int(is_class.sum())
    if n_class == 0:
        return 0.0
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], is_class[order].double()
    is_last = torch.cat([ranked[1:] != ranked[:-1], torch.tensor([True])])
    n_hits = hits.cumsum(0)[is_last]
    n_taken = torch.arange(1, len(scores) + 1, dtype=torch.float64)[is_last]
    gained = torch.diff(n_hits, prepend=n_hits.new_zeros(1))
    return float((gained * n_hits / n_taken).sum() / n_class)


def known_metrics(highest: Tensor, is_rejected: Tensor, is_known: Tensor) -> KnownMetrics:
    """Measure how well known images are told from unknown ones.

    Shapes:
        highest: (N,), the highest score of each image; is_rejected, is_known: (N,), boolean.
    """
    n_known = int(is_known.sum())
    return KnownMetrics(
        n_known=n_known,
        auroc=auroc(highest, is_known) if 0 < n_known < len(highest) else None,
        false_rejections=int(is_rejected[is_known].sum()) / n_known if n_known else None,
    )


def calibration_error(confidences: Tensor, is_right: Tensor, n_bins: int = 15) -> float | None:
    """Return the expected calibration error; None without images.

    Images fall in bins of equal width by the probability of their likeliest label; it is the mean
    over images of how far the share that is right in their bin is from the mean probability there.

    Shapes:
        confidences: (N,), in [0, 1]; is_right: (N,), boolean.

    Source:
        Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3.
    """
    if not len(confidences):
        return None
    bins = (confidences * n_bins).ceil().long().clamp(1, n_bins) - 1
    gaps = torch.zeros(n_bins, dtype=torch.float64)
    gaps.index_add_(0, bins, confidences.double() - is_right.double())
    return float(gaps.abs().sum() / len(confidences))


def auroc(scores: Tensor, is_class: Tensor) -> float:
    """Return the chance that an image of a class scores above another, ties counting half.

    Shapes:
        scores: (N,); is_class: (N,), boolean, neither all nor none of them true.

    Source:
        Mann and Whitney's U statistic, by the ranks of the scores.
    """
    _, places, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1).double() / 2
    n_class = int(is_class.sum())
    above = float(ranks[places][is_class].sum()) - n_class * (n_class + 1) / 2
    return above / (n_class * (len(scores) - n_class))


def _images_of(classes: set[int], data: ImageData) -> Tensor:
    """Return the positions of the images of some classes.

    Raises:
        ModpmError: There are none (`no-images`).
    """
    chosen = torch.isin(data.labels, torch.tensor(sorted(classes))).nonzero().squeeze(1)
    if not len(chosen):
        raise ModpmError(
            "no image is left to judge",
            code="no-images",
            where=f"{data.source}, split {data.split}",
            why=f"none of its {len(data)} images shows "
            f"{', '.join(data.classes[i] for i in sorted(classes))}",
            hint="take another split, or images of these classes",
        )
    return chosen


def nothing_in_common(labels: Sequence[str], data: ImageData) -> ModpmError:
    """Return the error for labels none of which is a class of a data set."""
    return ModpmError(
        "no label is a class of the data set",
        code="no-common-class",
        where=f"{data.source}, split {data.split}",
        why=f"labels: {_listed(labels)}\nclasses: {_listed(data.classes)}",
        hint=f"say which class a label meets: `--map {labels[0]}={data.classes[0]}`",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"  # noqa: PLR2004 -- as many as a line holds
