"""The automatic choice: the smallest modules whose composition is still good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from modpm.core.composition.compose import FUSED, INDEPENDENT, weigh
from modpm.core.errors import ModpmError
from modpm.core.modularizing.fitting import FittedNetwork, compose_all, fit_networks, modules_of
from modpm.core.modularizing.modularization import join
from modpm.core.shown_text import Points
from modpm.core.training.evidence import Cutoff
from modpm.core.training.inference import accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from modpm.core.classifiers.class_module import Scorer
    from modpm.core.formats.manifest import ComposedAccuracy
    from modpm.core.modularizing.description import Describer
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.evidence import Evidence


@dataclass(frozen=True)
class TradeOff:
    """What one cutoff gives: a point of the trade-off curve.

    All accuracies are of all classes, on the held-out part of the training data; that of
    independent composition is of scores by calibrators that were fitted on the other half of it.

    Attributes:
        threshold, retention: The cutoff; one of them is None.
        kernel_retention_rate, n_parameters, macs: Means over the class modules.
        fused_accuracy, independent_accuracy: Of the two compositions.
        strategy: Which of the two composing chooses by itself.
        accuracy: Of that one.
        accuracy_loss: By how many points it is below the modular network.
        is_within_budget: Whether that is few enough.
    """

    threshold: float | None
    retention: float | None
    kernel_retention_rate: float
    n_parameters: float
    macs: float
    fused_accuracy: float
    independent_accuracy: float
    strategy: str
    accuracy: float
    accuracy_loss: float
    is_within_budget: bool


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        cutoff: The cutoff.
        networks: Its networks.
        composed: What they measured as one classifier; None where they cannot be fused.
        curve: The whole trade-off curve, if there was a choice.
    """

    cutoff: Cutoff
    networks: list[FittedNetwork]
    composed: ComposedAccuracy | None
    curve: tuple[TradeOff, ...] = ()


@dataclass(frozen=True)
class Search:
    """Compares cutoffs on the held-out part of the training data.

    Attributes:
        origin: The modular network.
        evidence: What says which kernels each class keeps.
        describer: Makes the manifests that composing reads.
        calibration: The name of one, or `auto`.
        budget: Most points of accuracy that may be lost.
        tell: Told how many classes of a candidate are cut, and of how many.
    """

    origin: OriginNetwork
    evidence: Evidence
    describer: Describer
    calibration: str
    budget: float
    tell: Callable[[int, int], None] = lambda _done, _of: None

    def run(
        self,
        progress: Callable[[int, int], None],
        candidates: Sequence[Cutoff] | None = None,
    ) -> Choice:
        """Try all candidates, and choose the one with the smallest modules within the budget.

        Args:
            progress: Told how many are done, and of how many.
            candidates: What is tried; None for what the evidence has.

        Raises:
            ModpmError: None is within the budget (`budget-not-met`).
        """
        networks: dict[Cutoff, list[FittedNetwork]] = {}
        composed: dict[Cutoff, ComposedAccuracy] = {}
        curve: list[TradeOff] = []
        seen: dict[bytes, Cutoff] = {}
        tried = candidates or self.evidence.candidates(self.origin.trained.effort.retention)
        for done, cutoff in enumerate(tried, start=1):
            masks = self.evidence.masks(cutoff)
            same = seen.setdefault(join(masks).numpy().tobytes(), cutoff)
            networks[cutoff] = networks.get(same) or self._networks(masks)
            modules = modules_of(networks[cutoff], self.describer, cutoff)
            composed[cutoff], fused = compose_all(self.origin, networks[cutoff], modules)
            point = self._trade_off(cutoff, networks[cutoff], composed[cutoff], fused)
            curve.append(point)
            progress(done, len(tried))
        chosen = tried[curve.index(choose(curve, self.budget))]
        return Choice(chosen, networks[chosen], composed[chosen], tuple(curve))

    def _networks(self, masks: Mapping[str, Tensor]) -> list[FittedNetwork]:
        return fit_networks(self.origin, masks, self.calibration, self.tell)

    def _trade_off(
        self,
        cutoff: Cutoff,
        networks: Sequence[FittedNetwork],
        composed: ComposedAccuracy,
        fused: Scorer,
    ) -> TradeOff:
        labels = self.origin.validation.labels
        macs = sum(one.cost.macs for one in networks)
        strategy = FUSED if weigh(fused.cost.macs, macs, composed).is_fused else INDEPENDENT
        taken = composed.fused if strategy == FUSED else composed.independent
        lost = 100 * (accuracy(self.origin.validation_logits, labels) - taken)
        return TradeOff(
            threshold=cutoff.threshold,
            retention=cutoff.retention,
            kernel_retention_rate=mean(one.kernel_retention_rate for one in networks),
            n_parameters=mean(one.cost.n_parameters for one in networks),
            macs=mean(one.cost.macs for one in networks),
            fused_accuracy=composed.fused,
            independent_accuracy=composed.independent,
            strategy=strategy,
            accuracy=taken,
            accuracy_loss=lost,
            is_within_budget=lost <= self.budget + 1e-9,
        )


def choose(curve: Sequence[TradeOff], budget: float) -> TradeOff:
    """Return the point of the curve with the smallest modules within the budget.

    Of equal sizes the more accurate one, of equal accuracy the one that was tried last.

    Raises:
        ModpmError: None is within the budget (`budget-not-met`).
    """
    within = [point for point in curve if point.is_within_budget]
    if not within:
        raise _not_met(curve, budget)
    return min(reversed(within), key=lambda point: (point.n_parameters, -point.accuracy))


def _not_met(curve: Sequence[TradeOff], budget: float) -> ModpmError:
    lines = [
        f"{Cutoff(point.threshold, point.retention)}: {Points(point.accuracy_loss)} points lost "
        f"at a retention rate of {point.kernel_retention_rate:.2f}"
        for point in curve
    ]
    least = math.ceil(100 * min(point.accuracy_loss for point in curve)) / 100
    return ModpmError(
        f"no size keeps the composition within {budget:g} points of the modular network",
        code="budget-not-met",
        why="\n".join(lines),
        hint=f"allow `--budget {least:.2f}`, or train for longer",
    )
