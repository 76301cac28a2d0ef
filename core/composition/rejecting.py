"""The threshold for none of the above, by what class modules say of their own held-out images.

A module publishes how high its score is on images of its class, and how high the highest score of
all modules of its origin is on these (M-32). A classifier of k of the n modules of an origin
rejects an image where none of the k reaches the threshold. Where its own module does not, another
one may, and is among the k with a chance of (k - 1) / (n - 1). Modules of other origins may too;
they are not counted on. So the share of known images that are rejected is, if anything, less than
is asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, UnsetType

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import SHARES, OwnScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.formats.composition_manifest import ComposedNetwork

AUTO = "auto"
FALSE_REJECTIONS = 0.05
"""The share of known images that a threshold may reject, where nothing else is asked for."""

N_HALVINGS = 60


class _Known(NamedTuple):
    """How high scores of images of one class are in a classifier.

    Attributes:
        own: Quantiles of the score of its module.
        highest: The same of the highest score of all modules of its origin.
        chance: Of another module of the origin to be in the classifier.
    """

    own: Sequence[float]
    highest: Sequence[float]
    chance: float

    def share_below(self, score: float) -> float:
        """Return which share of the images none of the classifier's scores reaches it on."""
        alone = _share_below(self.own, score)
        return alone + self.chance * (_share_below(self.highest, score) - alone)


def _share_below(quantiles: Sequence[float], score: float) -> float:
    if score <= quantiles[0]:
        return 0.0
    for (low, below), (high, above) in pairwise(zip(quantiles, SHARES, strict=True)):
        if score <= high:
            return below + (above - below) * (score - low) / (high - low)
    return 1.0


class Threshold(NamedTuple):
    """Where a classifier rejects an image.

    Attributes:
        reject: A probability; None to give every image a label.
        false_rejections: The share of known images that it was set for, where it was.
        notes: Which modules reject everything, in words.
    """

    reject: float | None
    false_rejections: float | UnsetType = UNSET
    notes: Sequence[str] = ()


def asked_threshold(
    modules: Sequence[ClassModule],
    networks: Sequence[ComposedNetwork],
    reject: float | str | None,
    false_rejections: float | None = None,
) -> Threshold:
    """Return the threshold that is asked for.

    Args:
        modules: The class modules of a classifier.
        networks: How they are put together.
        reject: A probability; `auto` for the highest one that rejects no more than a share of
            the known images, every class counting alike; None for none.
        false_rejections: That share; None for 5 %.

    Raises:
        ModpmError: It is no probability, or no share (`invalid-threshold`); a module does not
            publish its scores (`no-own-scores`); it rejects everything (`rejects-everything`).
    """
    if reject == AUTO:
        share = FALSE_REJECTIONS if false_rejections is None else false_rejections
        found = _threshold(modules, networks, share)
        return Threshold(found, share, list(_unreachable(modules, networks, found)))
    if false_rejections is not None:
        raise _invalid(
            "a share of false rejections sets the threshold by itself",
            "leave it out, or say `--reject auto`",
        )
    if reject is None:
        return Threshold(None)
    if isinstance(reject, str) or not 0 <= reject <= 1:
        shown = reject if isinstance(reject, str) else f"{reject:g}"
        raise _invalid(
            f"the threshold {shown} is not a probability",
            "take a number from 0 to 1, for example `--reject 0.5`, or `--reject auto`",
        )
    return Threshold(reject, notes=list(_unreachable(modules, networks, reject)))


def _invalid(what: str, hint: str) -> ModpmError:
    return ModpmError(what, code="invalid-threshold", hint=hint, exit_code=2)


def _threshold(
    modules: Sequence[ClassModule], networks: Sequence[ComposedNetwork], false_rejections: float
) -> float:
    if not 0 < false_rejections < 1:
        raise _invalid(
            f"{false_rejections:g} is no share of false rejections",
            "take a number above 0 and below 1, for example `--false-rejections 0.05`",
        )
    if any(network.strategy == "fused" for network in networks):
        raise ModpmError(
            "the threshold cannot be set by what the modules publish",
            code="no-own-scores",
            why="fused modules give other scores than each of them alone",
            hint="let them run as they are, `--strategy independent`; or give a threshold, for "
            "example `--reject 0.5`",
        )
    lacking = [one for one in modules if not isinstance(one.manifest.own_scores, OwnScores)]
    if lacking:
        raise _unpublished(lacking)
    known = [one for _, one in _known(modules, networks)]
    low = min(one.own[0] for one in known)
    high = max(max(one.own[-1], one.highest[-1]) for one in known)
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        share = sum(one.share_below(middle) for one in known) / len(known)
        low, high = (low, middle) if share > false_rejections else (middle, high)
    return 1 / (1 + math.exp(-low))


def _known(
    modules: Sequence[ClassModule], networks: Sequence[ComposedNetwork]
) -> Iterator[tuple[ClassModule, _Known]]:
    """Give the modules that publish how high their scores are, and are not fused."""
    fused = {i for network in networks if network.strategy == "fused" for i in network.modules}
    n_of_origin = Counter(module.manifest.origin.digest for module in modules)
    for i, module in enumerate(modules):
        scores, origin = module.manifest.own_scores, module.manifest.origin
        if isinstance(scores, OwnScores) and i not in fused:
            rivals = n_of_origin[origin.digest] - 1
            chance = min(1.0, rivals / max(1, len(origin.classes) - 1))
            yield module, _Known(scores.own, scores.highest, chance)


def _unreachable(
    modules: Sequence[ClassModule], networks: Sequence[ComposedNetwork], reject: float
) -> Iterator[str]:
    """Give, in words, the modules none of whose held-out images reaches a threshold.

    Raises:
        ModpmError: All of them are such: everything would be rejected (`rejects-everything`).
    """
    known = list(_known(modules, networks))
    score = -math.inf if reject == 0 else math.inf
    if 0 < reject < 1:
        score = math.log(reject / (1 - reject))
    lost = [one.manifest for one, own in known if own.share_below(score) == 1]
    if known and len(lost) == len(modules):
        best = max(max(own.own[-1], own.highest[-1]) for _, own in known)
        raise ModpmError(
            f"the threshold {reject:g} rejects everything",
            code="rejects-everything",
            why="no held-out image of any class reaches it; the surest has the probability "
            f"{1 / (1 + math.exp(-best)):.4g}",
            hint="take a lower one, or let the modules say it: `--reject auto`",
        )
    for one in lost:
        yield (
            f"{one.label}: always none of the above, since none of its held-out images reaches the "
            f"threshold {reject:.4g}"
        )


def adjusted() -> ModpmError:
    """Return the error for a threshold by what modules publish, of scores that are adjusted."""
    return ModpmError(
        "the threshold cannot be set by what the modules publish",
        code="no-own-scores",
        why="training, `--calibrate` and `--unlabeled` make other scores of theirs",
        hint="give a threshold, for example `--reject 0.5`",
    )


def _unpublished(modules: Sequence[ClassModule]) -> ModpmError:
    names = ", ".join(f"{one.manifest.name} {one.manifest.version}" for one in modules)
    return ModpmError(
        "the threshold cannot be set by what the modules publish",
        code="no-own-scores",
        why=f"these do not say how high their scores are on images of their class: {names}",
        hint="give a threshold, `--reject 0.5`; or make the modules anew, `modpm modularize`, "
        "which publishes it",
    )
