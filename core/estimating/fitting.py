"""Rates fitted to what layers took, so that the relative errors are small."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modpm.core.estimating.rates import ALIGNMENTS, N_TERMS, Rate, seconds_of, terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from modpm.core.estimating.work import Work

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_ROUNDS = 4  # of weighing down what lies far off
_FAR = 2.0  # times the middle error


class Sample(NamedTuple):
    """What a few steps took.

    Attributes:
        steps: What was done.
        seconds: How long it took.
    """

    steps: Sequence[Work]
    seconds: float


def fit(
    samples: Sequence[Sample], kinds: Sequence[str], known: Mapping[str, Rate]
) -> dict[str, Rate]:
    """Return the rates of some kinds of work.

    Args:
        samples: Steps of these kinds, among others that are known.
        kinds: What is fitted, together.
        known: Rates of all other steps.
    """
    rest = [
        sample.seconds - seconds_of([s for s in sample.steps if s.kind not in kinds], known)
        for sample in samples
    ]
    totals = np.array([sample.seconds for sample in samples])
    has_products = any(s.times for sample in samples for s in sample.steps if s.kind in kinds)
    choices = itertools.product(ALIGNMENTS, ALIGNMENTS) if has_products else [(1, 1)]
    found = []
    for inputs, outputs in choices:
        counts = np.array([_counts(sample, kinds, inputs, outputs) for sample in samples])
        error, seconds = _robust(counts / totals[:, None], np.array(rest) / totals)
        found.append((error, inputs, outputs, seconds))
    _, inputs, outputs, seconds = min(found, key=lambda one: one[0])
    return {
        kind: Rate(seconds=own.tolist(), inputs=inputs, outputs=outputs)
        for kind, own in zip(kinds, seconds.reshape(-1, N_TERMS), strict=True)
    }


def _counts(sample: Sample, kinds: Sequence[str], inputs: int, outputs: int) -> list[float]:
    counts = []
    for kind in kinds:
        own = [terms(step, inputs, outputs) for step in sample.steps if step.kind == kind]
        counts += [sum(column) for column in zip(*own, strict=True)] if own else [0.0] * N_TERMS
    return counts


def _robust(counts: Floats, wanted: Floats) -> tuple[float, Floats]:
    """Return the mean absolute error and factors that are not negative, whatever lies far off."""
    weights = np.ones(len(wanted))
    for _ in range(_ROUNDS):
        factors = not_negative(counts * weights[:, None], wanted * weights)
        errors = np.abs(counts @ factors - wanted)
        weights = np.sqrt(1 / np.maximum(1, errors / max(_FAR * float(np.median(errors)), 1e-9)))
    return float(errors.mean()), factors


def not_negative(columns: Floats, wanted: Floats) -> Floats:
    """Return the factors of columns, none below zero, whose sum is nearest to what is wanted.

    Shapes:
        columns: (N, K), wanted: (N,) → (K,)

    Source:
        Lawson and Hanson, Solving least squares problems (1974), chapter 23.
    """
    scale = np.linalg.norm(columns, axis=0)
    scaled = columns / np.where(scale > 0, scale, 1)
    factors: Floats = np.zeros(columns.shape[1])
    chosen: Flags = np.zeros(columns.shape[1], dtype=bool)
    for _ in range(3 * columns.shape[1]):
        slopes = np.where(chosen | (scale == 0), -np.inf, scaled.T @ (wanted - scaled @ factors))
        if slopes.max() <= 1e-9:  # noqa: PLR2004 -- of numbers of about 1
            break
        chosen[slopes.argmax()] = True
        factors = _with_chosen(scaled, wanted, factors, chosen)
    return factors / np.where(scale > 0, scale, 1)


def _with_chosen(columns: Floats, wanted: Floats, factors: Floats, chosen: Flags) -> Floats:
    """Return the best factors of chosen columns, of which those that fall to zero are given up."""
    while chosen.any():
        best = np.zeros_like(factors)
        best[chosen] = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)[0]
        falling = chosen & (best <= 0)
        if not falling.any():
            return best
        step = (factors[falling] / (factors[falling] - best[falling])).min()
        factors = factors + step * (best - factors)
        chosen = chosen & (factors > 1e-12)  # noqa: PLR2004 -- zero but for rounding
    return np.zeros_like(factors)
