"""Class modules of an origin, cut and calibrated on the held-out part of its training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.composition.class_module import ClassModule
from modpm.core.graph import Cost, count
from modpm.core.modularizing.calibration import FittedScore, fit_score
from modpm.core.modularizing.cutting import (
    ScoredNetwork,
    cut,
    kernel_retention_rate,
    with_score,
)
from modpm.core.modularizing.readings import Readings, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.manifest import Manifest
    from modpm.core.modularizing.cutting import CutNetwork, Retained
    from modpm.core.modularizing.origin import OriginNetwork


AT_ONCE = 16
"""Classes that share a pass over the held-out images, and memory for what is read of them."""


@dataclass(frozen=True)
class FittedNetwork:
    """The network of one class, with its score.

    Attributes:
        class_index: The class's position among the origin's outputs.
        retained: What it retains of the origin's layers.
        kernel_retention_rate: Retained kernels / all kernels.
        scored: The network.
        fitted: How its score was made.
        cost: What it costs.
    """

    class_index: int
    retained: Retained
    kernel_retention_rate: float
    scored: ScoredNetwork
    fitted: FittedScore
    cost: Cost

    def module(self, manifest: Manifest) -> ClassModule:
        """Return the class module of that manifest."""
        return ClassModule(manifest, self.scored.tensors)


def fit_networks(
    origin: OriginNetwork,
    masks: Mapping[str, Tensor],
    calibration: str,
    progress: Callable[[int, int], None],
) -> list[FittedNetwork]:
    """Cut and calibrate the network of every class.

    Args:
        origin: The modular network.
        masks: Module masks, by convolution.
        calibration: A kind of calibration, or `auto`.
        progress: Told how many classes are done, and of how many.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """
    networks: list[FittedNetwork] = []
    classes = range(len(origin.classes))
    for start in range(0, len(classes), AT_ONCE):
        networks += _fit_together(origin, masks, classes[start : start + AT_ONCE], calibration)
        progress(len(networks), len(classes))
    return networks


def _fit_together(
    origin: OriginNetwork,
    masks: Mapping[str, Tensor],
    classes: Sequence[int],
    calibration: str,
) -> Iterator[FittedNetwork]:
    cuts = [cut(origin.graph, origin.tensors, masks, i) for i in classes]
    readings = read(cuts, origin.validation, origin.contract, origin.device)
    for network, found in zip(cuts, readings, strict=True):
        yield _scored(origin, network, found, calibration)


def _scored(
    origin: OriginNetwork, network: CutNetwork, readings: Readings, calibration: str
) -> FittedNetwork:
    fitted = fit_score(readings, network.class_index, calibration)
    scored = with_score(network, fitted.calibrator)
    return FittedNetwork(
        network.class_index,
        network.retained,
        kernel_retention_rate(network.retained, origin.kernels),
        scored,
        fitted,
        count(scored.graph, scored.tensors),
    )
