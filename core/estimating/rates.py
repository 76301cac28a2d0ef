"""How fast a machine is at each kind of work: a roofline with the alignment of channels.

A step takes

    start + arithmetic / peak + read / bandwidth + written / bandwidth' + weights / bandwidth''

where the arithmetic counts channels and kernels rounded up to the multiples that the machine
computes at once, as ANNETTE maps layers to the unrolling of a device.

Source:
    Wess et al., ANNETTE: accurate neural network execution time estimation with stacked models,
    arXiv 2105.03176, sections III-B and IV.
    Departs: the terms are added, instead of the largest one taken. On processors transfers are
    not hidden behind arithmetic, and sums fit what is measured better (ADR 25).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modpm.core.formats.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modpm.core.estimating.work import Work

N_TERMS = 5
"""Start, arithmetic, numbers read, numbers written, weights."""

ALIGNMENTS = (1, 4, 8, 16, 32)
"""Multiples that channels and kernels may be rounded up to."""


class Rate(Record, frozen=True, kw_only=True):
    """How fast one kind of work is.

    Attributes:
        seconds: Of a start, a multiply-accumulate, a number read, a number written, and a weight.
        inputs: The multiple that channels are rounded up to.
        outputs: The multiple that kernels are rounded up to.
    """

    seconds: list[float]
    inputs: int = 1
    outputs: int = 1


def terms(work: Work, inputs: int = 1, outputs: int = 1) -> list[float]:
    """Return what the seconds of a rate are multiplied by.

    Args:
        work: A step.
        inputs: The multiple that channels are rounded up to.
        outputs: The multiple that kernels are rounded up to.
    """
    macs = work.times * _up(work.n_inputs, inputs) * _up(work.n_outputs, outputs)
    return [1.0, macs, work.read, work.written, work.weights]


def _up(n: int, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


def seconds_of(work: Iterable[Work], rates: Mapping[str, Rate]) -> float:
    """Return how long steps take one after the other.

    Args:
        work: The steps.
        rates: By kind of work.
    """
    return sum(_seconds(step, rates[step.kind]) for step in work)


def _seconds(work: Work, rate: Rate) -> float:
    counts = terms(work, rate.inputs, rate.outputs)
    return sum(seconds * n for seconds, n in zip(rate.seconds, counts, strict=True))
