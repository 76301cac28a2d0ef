"""The criterion: what says which kernels a class retains, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.modularizing.module_masks import exact_threshold, module_masks
from modpm.core.training.ranking import kept_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.modularizing.frequencies import KernelFrequencies
    from modpm.core.modularizing.origin import OriginNetwork
    from modpm.core.training.run import Run

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
DEFAULT_THRESHOLD = 0.9
LARGER = (3.0, 2.0, 1.5, 1.25, 1.0)
"""Multiples of the rate that training prepares, up to all kernels.

With larger modules a budget can be met that those which training prepares miss.
"""


@dataclass(frozen=True)
class Criterion:
    """One of two numbers.

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

    def masks(self, origin: OriginNetwork, frequencies: KernelFrequencies) -> dict[str, Tensor]:
        """Return the module masks; boolean, (n_classes, K) for each convolution."""
        if self.retention is None:
            assert self.threshold is not None
            return module_masks(frequencies.counts, frequencies.n_samples, self.threshold)
        return kept_kernels(origin.run.ranks, sum(origin.kernels.values()), self.retention)


def default_criterion(run: Run) -> Criterion:
    """Return what a run was trained for: modules of a size, or the threshold of the paper."""
    if run.ranks:
        return Criterion(retention=run.config.retention)
    return Criterion(threshold=DEFAULT_THRESHOLD)


def candidates(run: Run) -> Sequence[Criterion]:
    """Return what an automatic choice is among, the smallest modules last."""
    if not run.ranks:
        return [Criterion(threshold=threshold) for threshold in THRESHOLDS]
    larger = (round(factor * run.config.retention, 4) for factor in LARGER)
    return [Criterion(retention=rate) for rate in (1.0, *(r for r in larger if r < 1))]


def given_criterion(run: Run, threshold: float | None, retention: float | None) -> Criterion:
    """Return what a user asks for; by default what the run was trained for.

    Raises:
        ModpmError: Both are given, or kernels were not ranked (`bad-setting`); a number is out
            of range (`invalid-threshold`, `bad-setting`).
    """
    if threshold is not None and retention is not None:
        raise _bad("a threshold and a retention rate exclude each other", "give one of them")
    if retention is not None:
        return Criterion(retention=_checked_retention(run, retention))
    if threshold is None:
        return default_criterion(run)
    exact_threshold(threshold)
    return Criterion(threshold=threshold)


def _checked_retention(run: Run, retention: float) -> float:
    if not run.ranks:
        raise _bad(
            "kernels cannot be retained by their ranking",
            "train with `--method mwt+views`, or give a `--threshold`",
            f"the method `{run.config.method}` ranks none",
        )
    if not 0 < retention <= 1:
        raise _bad(f"a retention rate of {retention:g} is not possible", "above 0 and at most 1")
    return retention


def _bad(what: str, hint: str, why: str | None = None) -> ModpmError:
    return ModpmError(what, code="bad-setting", why=why, hint=hint, exit_code=2)
