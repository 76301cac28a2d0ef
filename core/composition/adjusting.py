"""Adjusting classifiers: what each origin says is made to fit what the others say.

A class module is calibrated on images of its own origin, and does not know how sure other origins
are. Two numbers for each origin mend that: a slope and an intercept of all scores of its modules.
So few are fitted that a few labeled images do; without labels, images of all classes give the
intercepts, for the classes should be given equally often.

Source: H. Kim and others, *A theoretical study on solving continual learning*, NeurIPS 2022
(calibration across tasks); J. Vongkulbhisal and others, *Unifying heterogeneous classifiers with
distillation*, CVPR 2019. Departs: there, labels that classifiers share tell how their scores
compare; here, the shares of classes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it
from torch import Tensor

from modpm.core.classifiers.class_module import Scorer
from modpm.core.classifiers.classifier import Classifier, probabilities
from modpm.core.classifiers.saving import not_composed
from modpm.core.composition.fused import with_affine
from modpm.core.composition.labeled import (
    N_DIGITS,
    cross_validate,
    free,
    labeled_outputs,
    least,
    rounded,
    told,
)
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import (
    MAX_INTERCEPT,
    MAX_SLOPE,
    MIN_SLOPE,
    Adjustment,
)
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from modpm.core.classifiers.recipe import Composition
    from modpm.core.data import ImageData
    from modpm.core.formats.measurement import Measurement

SPREAD_OF_SLOPES, SPREAD_OF_INTERCEPTS = 0.5, 1.0
"""The pull to the identity: how far logarithms of slopes, and intercepts, are expected from 0."""


class _Origins(NamedTuple):
    """Whose outputs are whose.

    Attributes:
        digests: Of all origins, in the order in which the modules name them.
        of_outputs: The position of the origin of each output of the networks.
    """

    digests: list[str]
    of_outputs: Tensor


class _Numbers(NamedTuple):
    """What is fitted.

    Shapes:
        slopes, intercepts: (n_origins,), float64.
    """

    slopes: Tensor
    intercepts: Tensor


def adjust(
    classifier: Classifier,
    adjustments: Sequence[Adjustment],
    measured: Sequence[Measurement] = (),
) -> Classifier:
    """Return a classifier with scores adjusted by origin, after what it is adjusted by already.

    Args:
        classifier: A composed one.
        adjustments: To be made one after the other.
        measured: What the new classifier was measured at.

    Raises:
        ModpmError: It was not composed (`not-composed`), or none of its modules is of an origin
            that is named (`broken-composition`).
    """
    composition = _composition(classifier)
    origins = [pin.origin for pin in composition.modules]
    _check_origins(adjustments, origins)
    scorers = [
        _adjusted(scorer, [one for one in adjustments if one.origin == origins[network.modules[0]]])
        for scorer, network in zip(classifier.networks(), composition.networks, strict=True)
    ]
    composition = msgspec.structs.replace(
        composition, adjustments=[*composition.adjustments, *adjustments], measured=list(measured)
    )
    reasons = [*classifier.reasons, *in_words(adjustments)]
    return Classifier(scorers, classifier.labels, classifier.reject, composition, reasons)


def in_words(adjustments: Sequence[Adjustment]) -> Iterator[str]:
    """Give what was fitted, in sentences: each fitting, then each origin that it changes."""
    said: set[str] = set()
    for one in adjustments:
        if one.how not in said:
            yield _FITTINGS[one.how](one, [other for other in adjustments if other.how == one.how])
        said.add(one.how)
        if not one.is_identity:
            yield f"origin {one.origin}: slope {one.slope:g}, intercept {one.intercept:g}"


def calibrate(
    classifier: Classifier,
    data: ImageData | Sequence[ImageData],
    mapping: Mapping[str, str] | None = None,
) -> Classifier:
    """Adjust a classifier by images with labels: a slope and an intercept for each origin.

    They lower the cross-entropy of the scores of all labels, and are pulled to the identity. It
    is kept, unless cross-validation says that they are better by more than its standard error.

    Args:
        classifier: A composed one.
        data: Images of all its classes, at least two of each; or the same images for each of its
            `contracts`. Images of other classes are left out.
        mapping: Label to the class it meets, where their names differ.

    Raises:
        ModpmError: No label meets a class (`no-common-class`) or two meet one
            (`labels-of-one-class`), some label has no images
            (`label-without-images`) or only one (`too-few-images`); what `adjust` raises.
    """
    origins = _origins(classifier)
    labeled = labeled_outputs(classifier, data, mapping)
    outputs, truth = labeled.outputs, labeled.truth

    def fit(which: Tensor) -> _Numbers:
        return _fit_labeled(classifier, origins, outputs[which], truth[which])

    def refit(rest: Tensor, held_out: Tensor) -> Tensor:
        return _scores(classifier, origins, outputs[held_out], fit(rest))

    judged = cross_validate(labeled, classifier.pool(outputs), refit)
    numbers = _identity(len(origins.digests))
    if judged.is_better:
        numbers = fit(torch.arange(len(truth)))
    return adjust(
        classifier,
        [
            Adjustment(
                origin=origin,
                how="labeled",
                slope=slope,
                intercept=intercept,
                **judged.recorded(),
            )
            for origin, slope, intercept in _rounded(origins, numbers)
        ],
    )


def fit_shares(
    classifier: Classifier, outputs: Tensor, data_set: str, fingerprint: str
) -> Classifier:
    """Adjust a classifier by images without labels: an intercept for each origin.

    With them, the labels of each origin are as likely in the mean as if all labels were shown
    equally often, which the images should do about. They are pulled to nothing.

    Args:
        classifier: A composed one, of two origins at least.
        outputs: What its networks say of the images, as `Classifier.outputs` gives it.
        data_set: What the images are called.
        fingerprint: Names exactly these images.

    Raises:
        ModpmError: It is of one origin (`one-origin`); there are fewer images than labels
            (`too-few-images`); what `adjust` raises.
    """
    origins = _origins(classifier)
    _check_shares(classifier, origins, outputs, data_set)
    outputs = free(outputs)
    numbers = _fit_unlabeled(classifier, origins, outputs)
    distances = [
        _distance_of_shares(_scores(classifier, origins, outputs, some))
        for some in (_identity(len(origins.digests)), numbers)
    ]
    return adjust(
        classifier,
        [
            Adjustment(
                origin=origin,
                how="unlabeled",
                slope=slope,
                intercept=intercept,
                data_set=data_set,
                fingerprint=fingerprint,
                n=len(outputs),
                before=distances[0],
                after=distances[1],
            )
            for origin, slope, intercept in _rounded(origins, numbers)
        ],
    )


def _composition(classifier: Classifier) -> Composition:
    if classifier.composition is None:
        raise not_composed()
    return classifier.composition


def _origins(classifier: Classifier) -> _Origins:
    composition = _composition(classifier)
    digests = list(dict.fromkeys(pin.origin for pin in composition.modules))
    places = [
        digests.index(composition.modules[i].origin)
        for network in composition.networks
        for i in network.modules
    ]
    return _Origins(digests, torch.tensor(places))


def _adjusted(scorer: Scorer, adjustments: Iterable[Adjustment]) -> Scorer:
    """Return a network with a node for each adjustment, wherever it was fitted in the row."""
    for one in adjustments:
        if not one.is_identity:
            n = len(scorer.labels)
            made = with_affine(
                scorer.graph,
                scorer.network.state_dict(),
                "adjusted",
                [one.slope] * n,
                [one.intercept] * n,
            )
            scorer = Scorer(scorer.labels, scorer.contract, *made)
    return scorer


def _scores(
    classifier: Classifier, origins: _Origins, outputs: Tensor, numbers: _Numbers
) -> Tensor:
    """Return the scores of labels; (N, n_outputs) → (N, n_labels)."""
    slopes, intercepts = (one[origins.of_outputs] for one in numbers)
    return classifier.pool(outputs * slopes + intercepts)


def _identity(n_origins: int) -> _Numbers:
    return _Numbers(
        torch.ones(n_origins, dtype=torch.float64), torch.zeros(n_origins, dtype=torch.float64)
    )


def _fit_labeled(
    classifier: Classifier, origins: _Origins, outputs: Tensor, truth: Tensor
) -> _Numbers:
    def loss(fitted: Tensor) -> Tensor:
        scores = _scores(classifier, origins, outputs, _Numbers(fitted[0].exp(), fitted[1]))
        pull = (fitted[0] / SPREAD_OF_SLOPES) ** 2 + (fitted[1] / SPREAD_OF_INTERCEPTS) ** 2
        return F.cross_entropy(scores, truth, reduction="sum") + pull.sum() / 2

    logarithms, intercepts = least(loss, (2, len(origins.digests)))
    return _Numbers(logarithms.exp(), intercepts)


def _fit_unlabeled(classifier: Classifier, origins: _Origins, outputs: Tensor) -> _Numbers:
    slopes, _ = _identity(len(origins.digests))

    def loss(fitted: Tensor) -> Tensor:
        # Its gradient is by how much the mean probabilities of labels are off equal ones.
        scores = _scores(classifier, origins, outputs, _Numbers(slopes, fitted))
        excess = scores.logsumexp(1) - scores.mean(1)
        return excess.sum() + (fitted / SPREAD_OF_INTERCEPTS).square().sum() / 2

    return _Numbers(slopes, least(loss, (len(origins.digests),)))


def _rounded(origins: _Origins, numbers: _Numbers) -> Iterator[tuple[str, float, float]]:
    """Give the origins with a slope and an intercept that a manifest takes."""
    slopes = numbers.slopes.clamp(MIN_SLOPE, MAX_SLOPE).tolist()
    intercepts = numbers.intercepts.clamp(-MAX_INTERCEPT, MAX_INTERCEPT).tolist()
    for origin, slope, intercept in zip(origins.digests, slopes, intercepts, strict=True):
        yield origin, round(slope, N_DIGITS), round(intercept, N_DIGITS)


def _distance_of_shares(scores: Tensor) -> float:
    """Return how far mean probabilities of labels are from equal ones: half of all differences."""
    shares = probabilities(scores).mean(0)
    return rounded((shares - 1 / len(shares)).abs().sum() / 2)


def _check_shares(
    classifier: Classifier, origins: _Origins, outputs: Tensor, data_set: str
) -> None:
    if len(origins.digests) < 2:  # noqa: PLR2004 -- one has nothing to be compared with
        raise ModpmError(
            "images without labels adjust origins to each other, and there is one",
            code="one-origin",
            why=f"all modules are of {origins.digests[0]}",
            hint="leave out `--unlabeled`",
        )
    if len(outputs) < len(classifier.labels):
        raise ModpmError(
            "there are too few images to tell how often each label is given",
            code="too-few-images",
            where=data_set,
            why=f"found {len(outputs)} for {len(classifier.labels)} labels",
            hint="give some images of each label, about equally many",
        )


def _check_origins(adjustments: Sequence[Adjustment], origins: Sequence[str]) -> None:
    for one in adjustments:
        if one.origin not in origins:
            raise ModpmError(
                "the composition adjusts an origin that none of its modules is of",
                code="broken-composition",
                why=f"it names {one.origin}; its modules are of {', '.join(sorted(set(origins)))}",
            )


def _said_of_labeled(one: Adjustment, fitted: Sequence[Adjustment]) -> str:
    is_kept = not all(other.is_identity for other in fitted)
    return told("calibrated on", one, is_kept=is_kept)


def _said_of_unlabeled(one: Adjustment, _fitted: Sequence[Adjustment]) -> str:
    return (
        f"origins adjusted on {one.n:,} images of {one.data_set} without labels: the shares of "
        f"labels were off equal ones by {Percent(one.before)}, and are by {Percent(one.after)}"
    )


_FITTINGS = {"labeled": _said_of_labeled, "unlabeled": _said_of_unlabeled}
