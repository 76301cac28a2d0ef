"""Evidence: what says which kernels a class retains, and how a number is made of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.errors import ModpmError
from modpm.core.training.ranking import quotas, rank_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DEFAULT_THRESHOLD = 0.9
LARGER = (3.0, 2.0, 1.5, 1.25, 1.0)
"""Multiples of the rate that training prepares, up to all kernels.

With larger modules a budget can be met that those which training prepares miss.
"""

RATES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""Rates that are tried of networks that were trained for none."""

_LITTLE = 1e-9
STEP = Fraction(1, 20)
"""By how much the threshold falls, again and again, where a layer would be empty."""

LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True)
class Cutoff:
    """Where kernels end that a class keeps: one of two numbers.

    Attributes:
        threshold: Kernel frequency at or above which a kernel is retained; or
        retention: kernel retention rate up to which each class's ranking is retained.
    """

    threshold: float | None = None
    retention: float | None = None

    def __str__(self) -> str:
        if self.threshold is not None:
            return f"threshold {self.threshold:g}"
        return f"retention {self.retention:g}"


class Evidence(ABC):
    """What is known of the kernels of a trained network.

    Attributes:
        sample_masks: Gives which kernels the samples of one class activate, boolean, (n, ΣK), the
            layers that are cut side by side; None where that is unknown.
    """

    sample_masks: Callable[[int], Tensor] | None = None

    @classmethod
    @abstractmethod
    def cutoff(cls, threshold: float | None, retention: float | None, prepared: float) -> Cutoff:
        """Return what a user asks for, if this kind of evidence can say it.

        Args:
            threshold: What is asked for; None if it is not.
            retention: The same.
            prepared: The retention rate that the network was trained for.

        Raises:
            ModpmError: `bad-setting` or `invalid-threshold`.
        """

    @classmethod
    @abstractmethod
    def candidates(cls, prepared: float) -> Sequence[Cutoff]:
        """Return what an automatic choice is among, the smallest modules last."""

    @abstractmethod
    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the module masks; boolean, (n_classes, K) for each convolution that is cut."""


class ByRetention(Evidence):
    """Evidence that gives modules of any size: a rate says which."""

    @classmethod
    def cutoff(cls, threshold: float | None, retention: float | None, prepared: float) -> Cutoff:
        """Return the retention rate that is asked for, or that was prepared."""
        if threshold is not None:
            raise _bad(
                "kernels of this network have no frequencies",
                "give a `--retention` instead of a `--threshold`",
                "its method ranks them",
            )
        return Cutoff(retention=possible_rate(prepared if retention is None else retention))

    @classmethod
    def candidates(cls, prepared: float) -> Sequence[Cutoff]:
        """Return all kernels, and then rates from larger ones down to what was prepared."""
        larger = (round(factor * prepared, 4) for factor in LARGER)
        return [Cutoff(retention=rate) for rate in (1.0, *(r for r in larger if r < 1))]

    def _quotas(self, tables: Mapping[str, Tensor], n_all: int, cutoff: Cutoff) -> dict[str, int]:
        assert cutoff.retention is not None
        n_kernels = {layer: table.shape[1] for layer, table in tables.items()}
        return quotas(n_kernels, n_all, cutoff.retention)


@dataclass(frozen=True)
class Ranking(ByRetention):
    """The order in which each class keeps kernels: smaller modules lie within larger ones.

    Attributes:
        places: The place of each kernel in each class's ranking, from 0, by layer.
        n_all: The kernels of the network but for those that follow others (`own_kernels`); those
            of other layers are kept by every class.

    Shapes:
        places: (n_classes, K) each, integers; rows are permutations.
    """

    places: Mapping[str, Tensor]
    n_all: int

    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the first kernels of each class's ranking."""
        quota = self._quotas(self.places, self.n_all, cutoff)
        return {layer: table < quota[layer] for layer, table in self.places.items()}


@dataclass(frozen=True)
class Importance(ByRetention):
    """How much each kernel matters to each class; ranked anew for each size.

    Attributes:
        importance: Of each kernel for each class, by layer.
        n_all: As for `Ranking`.

    Shapes:
        importance: (n_classes, K) each, 0 or more.
    """

    importance: Mapping[str, Tensor]
    n_all: int

    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the first kernels of the ranking for that size."""
        quota = self._quotas(self.importance, self.n_all, cutoff)
        return {
            layer: rank_kernels(table, quota[layer]) < quota[layer]
            for layer, table in self.importance.items()
        }


@dataclass(frozen=True)
class Sensitivity(ByRetention):
    """How much each class loses with each kernel, in one measure for all layers.

    A class keeps the kernels that it would lose most with, wherever they are, so that each has
    quotas of its own for the layers.

    Attributes:
        sensitivity: Of each class to each kernel, by layer.
        n_all: As for `Ranking`.

    Shapes:
        sensitivity: (n_classes, K) each, 0 or more.
    """

    sensitivity: Mapping[str, Tensor]
    n_all: int

    @classmethod
    def candidates(cls, prepared: float) -> Sequence[Cutoff]:  # noqa: ARG003 -- any will do
        """Return rates from all kernels down."""
        return [Cutoff(retention=rate) for rate in RATES]

    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the first kernels of all layers: at least one of each layer."""
        assert cutoff.retention is not None
        return first_kernels(self.sensitivity, self.n_all, cutoff.retention)


def first_kernels(scores: Mapping[str, Tensor], n_all: int, retention: float) -> dict[str, Tensor]:
    """Return masks of the kernels with the highest scores, whatever their layer.

    Args:
        scores: Of each kernel for each class, by layer.
        n_all: As for `Ranking`.
        retention: The rate that is not to be exceeded; each layer keeps its best kernel all the
            same.

    Shapes:
        scores: (n_classes, K) each.
        returns: (n_classes, K) each, boolean.
    """
    table = torch.cat([_with_best_first(one) for one in scores.values()], dim=1)
    n_kept = math.floor(retention * n_all + _LITTLE) - (n_all - table.shape[1])
    n_kept = max(n_kept, len(scores))
    places = table.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    sizes = [one.shape[1] for one in scores.values()]
    return dict(zip(scores, torch.split(places < n_kept, sizes, dim=1), strict=True))


def _with_best_first(scores: Tensor) -> Tensor:
    """Let the best kernel of a layer come before those of all layers."""
    best = scores.argmax(1, keepdim=True)
    return scores.double().scatter(1, best, math.inf)


@dataclass(frozen=True)
class Frequencies(Evidence):
    """How often the samples of each class activate each kernel.

    They are cut by a threshold, as published, or, as a ranking, by a retention rate: so networks
    of few epochs are cut, in which nearly all kernels are active nearly always, and so methods are
    compared at equal sizes.

    Attributes:
        counts: How many samples of each class activate each kernel, by layer.
        n_samples: How many samples each class has.
        n_all: As for `Ranking`.
        strengths: How strongly they do, in sum: which of two kernels comes first that equally many
            activate. Without them, as where the numbers are equal, it is the first one.

    Shapes:
        counts: (n_classes, K) each, int64; n_samples: (n_classes,)
        strengths: (n_classes, K) each, 0 or more.
    """

    counts: Mapping[str, Tensor]
    n_samples: Tensor
    n_all: int
    strengths: Mapping[str, Tensor] | None = None
    sample_masks: Callable[[int], Tensor] | None = None

    @classmethod
    def cutoff(
        cls,
        threshold: float | None,
        retention: float | None,
        prepared: float,  # noqa: ARG003 -- sizes are found after training
    ) -> Cutoff:
        """Return the retention rate or the threshold that is asked for, or a threshold of 0.9."""
        if retention is not None:
            return Cutoff(retention=possible_rate(retention))
        asked = DEFAULT_THRESHOLD if threshold is None else threshold
        exact_threshold(asked)
        return Cutoff(threshold=asked)

    @classmethod
    def candidates(cls, prepared: float) -> Sequence[Cutoff]:  # noqa: ARG003 -- as above
        """Return thresholds from low to high."""
        return [Cutoff(threshold=threshold) for threshold in THRESHOLDS]

    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the kernels that meet the threshold, or the most frequent ones up to a rate."""
        if cutoff.retention is not None:
            return self._most_frequent(cutoff.retention)
        assert cutoff.threshold is not None
        exact = exact_threshold(cutoff.threshold)
        n_samples = self.n_samples.tolist()
        return {
            layer: torch.stack(
                [self.class_mask(row, n, exact) for row, n in zip(table, n_samples, strict=True)]
            )
            for layer, table in self.counts.items()
        }

    def _most_frequent(self, retention: float) -> dict[str, Tensor]:
        quota = quotas({n: t.shape[1] for n, t in self.counts.items()}, self.n_all, retention)
        return {layer: self._places(layer) < quota[layer] for layer in self.counts}

    def _places(self, layer: str) -> Tensor:
        """Return the place of each kernel of a layer when each class ranks them; (n_classes, K)."""
        frequency = self.counts[layer].double()
        if self.strengths is not None:
            strength = self.strengths[layer].double()
            frequency = frequency + strength / (1 + strength.max())  # less than one sample
        order = frequency.argsort(dim=1, descending=True, stable=True)
        return order.argsort(dim=1)

    def class_mask(self, counts: Tensor, n_samples: int, threshold: Fraction) -> Tensor:
        """Return the kernels of a layer that meet the threshold: at least one.

        Shapes:
            counts: (K,)
            returns: (K,), boolean

        Source:
            Modularizing while Training (arXiv 2306.09376): threshold 0.9, falling in steps of
            0.05 where a layer would be empty.
            Departs: a kernel that no sample activates is never retained for its frequency, and of
            a layer that no sample activates the first kernel is retained, where the published
            code falls to a threshold of 0 and retains them all.
        """
        highest = int(counts.max())
        if highest == 0:
            return torch.arange(len(counts)) == 0
        met = _falling(threshold, Fraction(highest, n_samples))
        return _meets(counts, n_samples, met)


LEAST_ACTIVE = Fraction(1, 200)
"""Share of a layer that is retained even where fewer channels meet the threshold."""


class ActivationRates(Frequencies):
    """How often the images of each class activate each channel behind a ReLU."""

    def class_mask(self, counts: Tensor, n_samples: int, threshold: Fraction) -> Tensor:
        """Return the channels of a layer that meet the threshold: at least 0.5 % of them.

        Shapes:
            counts: (K,)
            returns: (K,), boolean

        Source:
            Ngo, Hassan, Shafiq and Medvidovic, Improving DNN Modularization via Activation-Driven
            Training (arXiv 2411.01074): 0.9 and 0.5 %; here at least one channel, and where fewer
            meet the threshold, the most frequent.
        """
        least = math.ceil(LEAST_ACTIVE * len(counts))
        first = counts.argsort(descending=True, stable=True).argsort() < least
        return first | _meets(counts, n_samples, threshold)


def _meets(counts: Tensor, n_samples: int, threshold: Fraction) -> Tensor:
    is_met = counts * threshold.denominator >= threshold.numerator * n_samples
    return is_met & (counts > 0)


def possible_rate(retention: float) -> float:
    """Return a retention rate, if it is one.

    Raises:
        ModpmError: `bad-setting`, if it is not in (0, 1].
    """
    if not 0 < retention <= 1:
        raise _bad(f"a retention rate of {retention:g} is not possible", "above 0 and at most 1")
    return retention


def exact_threshold(threshold: float) -> Fraction:
    """Return the decimal number that a threshold was written as.

    The comparison of counts with it is one of integers: a kernel that is active in 9 of 10
    samples has a frequency of 0.9, whatever 0.9 is in binary.

    Raises:
        ModpmError: `invalid-threshold`, if it is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ModpmError(
            f"a threshold of {threshold} is not above 0 and at most 1",
            code="invalid-threshold",
            hint="it is the share of a class's images that must activate a kernel, such as 0.9",
            exit_code=2,
        )
    return Fraction(str(threshold)).limit_denominator(LARGEST_DENOMINATOR)


def _falling(threshold: Fraction, highest: Fraction) -> Fraction:
    """Return the threshold after the fewest steps that let the most frequent kernel stay."""
    n_steps = max(0, math.ceil((threshold - highest) / STEP))
    return threshold - n_steps * STEP


def _bad(what: str, hint: str, why: str | None = None) -> ModpmError:
    return ModpmError(what, code="bad-setting", why=why, hint=hint, exit_code=2)
