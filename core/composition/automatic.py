"""The strategy `auto`: fused or apart, by what both cost and what they were measured at.

ADR 0013 says why. The cheaper of the two is taken, unless the other one's recorded accuracy is
higher by more than its arithmetic is worth: by a point for each doubling, and by half a point at
least, below which a few thousand images tell nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.manifest import ComposedAccuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.composition.class_module import ClassModule

POINTS_A_DOUBLING = 1.0
LEAST_POINTS = 0.5


class Verdict(NamedTuple):
    """How modules of one origin are composed.

    Attributes:
        is_fused: As one network, or each by itself.
        reason: In words.
    """

    is_fused: bool
    reason: str


def weigh(fused_macs: int, apart_macs: int, recorded: ComposedAccuracy | None) -> Verdict:
    """Choose between modules of one origin fused and apart.

    Args:
        fused_macs: Multiply-accumulates of them fused.
        apart_macs: The same of them apart, in total.
        recorded: What both measured for all classes of the origin, if that is known.
    """
    is_fused_cheaper = fused_macs <= apart_macs
    cheap, dear = ("fused", "independent") if is_fused_cheaper else ("independent", "fused")
    low, high = sorted((fused_macs, apart_macs))
    cost = f"{cheap} costs {low:,} multiply-accumulates, {dear} {high:,}"
    if recorded is None:
        return Verdict(is_fused_cheaper, f"{cost}; no accuracy is recorded")
    known = (
        f"all classes of the origin were recorded at {recorded.fused:.2%} fused and "
        f"{recorded.independent:.2%} independent"
    )
    gain = 100 * (getattr(recorded, dear) - getattr(recorded, cheap))
    if gain <= 0:
        return Verdict(is_fused_cheaper, f"{cost}, for no more accuracy; {known}")
    is_dear_worth = gain > worth(low, high)
    judged = "is worth" if is_dear_worth else "is not worth"
    reason = f"{cost}; {known}, which {judged} {high / max(low, 1):.2f} times the arithmetic"
    return Verdict(is_fused_cheaper != is_dear_worth, reason)


def worth(low: int, high: int) -> float:
    """Return how many points of accuracy some arithmetic must gain over less of it."""
    doublings = math.log2(max(high, 1) / max(low, 1))
    return max(LEAST_POINTS, POINTS_A_DOUBLING * doublings)


def recorded_accuracy(modules: Sequence[ClassModule]) -> ComposedAccuracy | None:
    """Return what the modules' manifests record of composing, where they all say the same."""
    first, *others = (module.manifest.composed for module in modules)
    if isinstance(first, ComposedAccuracy) and all(other == first for other in others):
        return first
    return None
