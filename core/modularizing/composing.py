"""What the class modules of all classes of an origin give as one classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.composition.fused import fuse
from modpm.core.formats.manifest import ComposedAccuracy
from modpm.core.modularizing.splits import HELD_OUT, N_DIGITS
from modpm.core.training.inference import accuracy, predict_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.composition.class_module import ClassModule
    from modpm.core.composition.scorer import Scorer
    from modpm.core.modularizing.description import Describer
    from modpm.core.modularizing.fitting import FittedNetwork
    from modpm.core.modularizing.origin import OriginNetwork
    from modpm.core.training.evidence import Criterion


def modules_of(
    networks: Sequence[FittedNetwork], describer: Describer, criterion: Criterion
) -> list[ClassModule]:
    """Return networks as class modules of which nothing is measured yet, to be composed."""
    return [network.module(describer.manifest(network, criterion)) for network in networks]


def compose_all(
    origin: OriginNetwork, networks: Sequence[FittedNetwork], modules: Sequence[ClassModule]
) -> tuple[ComposedAccuracy, Scorer]:
    """Measure both compositions of all classes on the held-out images; return the fused one too.

    Apart, an image's score is that of a calibrator that was fitted on the other half of them.

    Args:
        origin: The modular network.
        networks: Of its classes.
        modules: The same, as class modules.
    """
    data = origin.validation
    fused = fuse(modules, [module.label for module in modules])
    scores = torch.stack([network.fitted.held_out_scores for network in networks], dim=1)
    fused_scores = predict_batches(fused.to(origin.device), data.images, origin.contract)
    measured = ComposedAccuracy(
        split=HELD_OUT,
        n=len(data),
        fused=round(accuracy(fused_scores, data.labels), N_DIGITS),
        independent=round(accuracy(scores, data.labels), N_DIGITS),
    )
    return measured, fused
