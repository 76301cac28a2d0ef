"""Fitting to a few labeled images what is made of scores, and judging that by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor

from modpm.core.classifiers.evaluation import match_labels, network_outputs, nothing_in_common
from modpm.core.errors import ModpmError
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.data import ImageData
    from modpm.core.formats.composition_manifest import Adjustment

MAX_FOLDS = 5
LEAST_IMAGES = 2
"""How many images of a label fitting takes at least: one is held out."""

N_DIGITS = 6


class Labeled(NamedTuple):
    """What a classifier's networks say of labeled images.

    Attributes:
        outputs: Of all networks, before votes are counted.
        truth: The position of each image's label.
        data_set: The images.
        fingerprint: Names exactly these.

    Shapes:
        outputs: (N, all labels of the networks), float64; truth: (N,)
    """

    outputs: Tensor
    truth: Tensor
    data_set: str
    fingerprint: str


class Judged(NamedTuple):
    """What cross-validation says of other scores for the same images.

    Attributes:
        data_set: The images.
        fingerprint: Names exactly these.
        n: How many.
        before, after: The cross-entropy of the scores as they were, and of the others.
        accuracy_before, accuracy_after: The same of the accuracy.
        is_better: Whether the others are, by more than the standard error of what they gain.
    """

    data_set: str
    fingerprint: str
    n: int
    before: float
    after: float
    accuracy_before: float
    accuracy_after: float
    is_better: bool

    def recorded(self) -> dict[str, Any]:
        """Return the fields that every record of what was fitted has, kept or not."""
        fields = self._asdict()
        del fields["is_better"]
        return fields


def told(
    fitting: str,
    one: Judged | Adjustment,
    *,
    is_kept: bool,
) -> str:
    """Return a sentence of what cross-validation said.

    Args:
        fitting: What was done to the images.
        one: What it said.
        is_kept: Whether the other scores are.
    """
    accuracies = [
        "unknown" if share is None else str(Percent(share))
        for share in (one.accuracy_before, one.accuracy_after)
    ]
    verdict = "kept" if is_kept else "no better by its standard error, scores stay as they are"
    return (
        f"{fitting} {one.n:,} labeled images of {one.data_set}; by cross-validation, "
        f"cross-entropy {one.before:.3f} before and {one.after:.3f} after, accuracy "
        f"{accuracies[0]} and {accuracies[1]}: {verdict}"
    )


def labeled_outputs(
    classifier: Classifier,
    data: ImageData | Sequence[ImageData],
    mapping: Mapping[str, str] | None = None,
) -> Labeled:
    """Return what a classifier's networks say of images of its labels.

    Args:
        classifier: The classifier.
        data: Images of all its labels, at least two of each; or the same images for each of its
            `contracts`. Images of other classes are left out.
        mapping: Label to the class it meets, where their names differ.

    Raises:
        ModpmError: No label meets a class (`no-common-class`) or two meet one
            (`labels-of-one-class`), some label has no images
            (`label-without-images`) or only one (`too-few-images`).
    """
    prepared = list(data) if isinstance(data, Sequence) else [data]
    first = prepared[0]
    truth = _truth(classifier, first, mapping or {})
    chosen = (truth >= 0).nonzero().squeeze(1)
    truth = truth[chosen]
    _check_enough(classifier, truth, first)
    outputs = network_outputs(classifier, [one.select(chosen).pixels for one in prepared])
    return Labeled(free(outputs), truth, first.source, first.fingerprint)


def free(outputs: Tensor) -> Tensor:
    """Return a copy that gradients can be taken of, whatever mode it was made in."""
    return outputs.to("cpu", torch.float64, copy=True)


def cross_validate(
    labeled: Labeled, before: Tensor, refit: Callable[[Tensor, Tensor], Tensor]
) -> Judged:
    """Judge other scores of images by what others than them say.

    Args:
        labeled: The images.
        before: Their scores as they are.
        refit: Returns the other scores of the images at the second positions, by what is fitted
            to those at the first.

    Shapes:
        before: (N, n_labels)
    """
    after, truth = before.clone(), labeled.truth
    for held_out in _folds(truth):
        rest, places = ((~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1))
        after[places] = refit(rest, places)
    (loss, accuracy), (loss_after, accuracy_after) = _quality(before, truth), _quality(after, truth)
    return Judged(
        labeled.data_set,
        labeled.fingerprint,
        len(truth),
        before=loss,
        after=loss_after,
        accuracy_before=accuracy,
        accuracy_after=accuracy_after,
        is_better=_is_better(before, after, truth),
    )


def least(loss: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return where a loss is least, begun at zeros.

    Args:
        loss: Smooth, and convex.
        shape: Of what it is given, float64.
    """
    fitted = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [fitted],
        max_iter=200,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(fitted)
        value.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # as above
    return fitted.detach()


def rounded(value: Tensor) -> float:
    """Return a number with as many digits as are written down."""
    return round(float(value), N_DIGITS)


def _folds(truth: Tensor) -> Iterator[Tensor]:
    """Give which images are held out, of each class alike: each image is once."""
    n_folds = min(MAX_FOLDS, int(truth.bincount().min()))
    chance = torch.rand(len(truth), generator=torch.Generator().manual_seed(0))
    places = torch.empty_like(truth)
    for label in range(int(truth.max()) + 1):
        own = (truth == label).nonzero().squeeze(1)
        places[own[chance[own].argsort()]] = torch.arange(len(own)) % n_folds
    for fold in range(n_folds):
        yield places == fold


def _is_better(before: Tensor, after: Tensor, truth: Tensor) -> bool:
    """Say whether scores are better by more than the standard error of their gain."""
    gains = F.cross_entropy(before, truth, reduction="none") - F.cross_entropy(
        after, truth, reduction="none"
    )
    return bool(gains.mean() > gains.std() / math.sqrt(len(gains)))


def _quality(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy, rounded."""
    accuracy = (scores.argmax(1) == truth).double().mean()
    return rounded(F.cross_entropy(scores, truth)), rounded(accuracy)


def _truth(classifier: Classifier, data: ImageData, mapping: Mapping[str, str]) -> Tensor:
    """Return the position of each image's label, or -1 where no label meets its class.

    Raises:
        ModpmError: `no-common-class`, `labels-of-one-class`.
    """
    met = match_labels(classifier.labels, data.classes, mapping)
    if not met:
        raise nothing_in_common(classifier.labels, data)
    label_of_class = torch.full((len(data.classes),), -1)
    for i, label in enumerate(classifier.labels):
        if label in met:
            _check_alone(label, classifier.labels, met)
            label_of_class[met[label]] = i
    return label_of_class[data.labels]


def _check_alone(label: str, labels: Sequence[str], met: Mapping[str, int]) -> None:
    others = [one for one in labels if one != label and met.get(one) == met[label]]
    if others:
        raise ModpmError(
            f"the labels `{label}` and `{others[0]}` are of one class of the data set",
            code="labels-of-one-class",
            why="no image can tell one from the other",
            hint="let their modules vote by `--ensemble`, or take one of them",
        )


def _check_enough(classifier: Classifier, truth: Tensor, data: ImageData) -> None:
    counts = truth.bincount(minlength=len(classifier.labels)).tolist()
    found = ", ".join(f"{label}: {n}" for label, n in zip(classifier.labels, counts, strict=True))
    few = [label for label, n in zip(classifier.labels, counts, strict=True) if n < LEAST_IMAGES]
    if not few:
        return
    raise ModpmError(
        f"the label `{few[0]}` has too few images to calibrate by"
        if min(counts)
        else f"the label `{classifier.labels[counts.index(0)]}` has no images to calibrate by",
        code="too-few-images" if min(counts) else "label-without-images",
        where=f"{data.source}, split {data.split}",
        why=f"found for each label: {found}; its classes are {', '.join(data.classes)}",
        hint=f"give {LEAST_IMAGES} images of each label at least, better 10",
    )
