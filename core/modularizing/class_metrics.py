"""How well a module's score tells its class from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.composition.evaluation import average_precision
from modpm.core.formats.manifest import ClassMetrics
from modpm.core.modularizing.fitting import AT_ONCE
from modpm.core.modularizing.readings import read_scores
from modpm.core.modularizing.splits import HELD_OUT, N_DIGITS, TEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from modpm.core.modularizing.fitting import FittedNetwork
    from modpm.core.modularizing.origin import OriginNetwork


def measure(scores: Tensor, is_class: Tensor, split: str) -> ClassMetrics:
    """Measure a module's scores: precision and recall at a score above 0, average precision.

    Where there is nothing to divide by, a number is 0.

    Args:
        scores: Of each image.
        is_class: Which images show the class.
        split: What the images are called.

    Shapes:
        scores: (N,); is_class: (N,), boolean.
    """
    is_claimed = scores > 0
    n_claimed, n_class = int(is_claimed.sum()), int(is_class.sum())
    n_right = int((is_claimed & is_class).sum())
    return ClassMetrics(
        split=split,
        n=len(scores),
        n_positive=n_class,
        precision=round(n_right / max(1, n_claimed), N_DIGITS),
        recall=round(n_right / max(1, n_class), N_DIGITS),
        average_precision=round(average_precision(scores, is_class), N_DIGITS),
    )


def measure_networks(
    origin: OriginNetwork,
    networks: Sequence[FittedNetwork],
    progress: Callable[[int, int], None],
) -> Iterator[ClassMetrics]:
    """Measure every class's network on images that decided nothing of it.

    They are the test images, if there are any; otherwise the held-out training images, each
    scored by a calibrator that was fitted on the other half of them.

    Args:
        origin: The modular network.
        networks: Of its classes.
        progress: Told how many classes are done, and of how many.
    """
    for start in range(0, len(networks), AT_ONCE):
        yield from _measure_together(origin, networks[start : start + AT_ONCE])
        progress(min(start + AT_ONCE, len(networks)), len(networks))


def _measure_together(
    origin: OriginNetwork, networks: Sequence[FittedNetwork]
) -> Iterator[ClassMetrics]:
    data, split = origin.test, TEST
    if data is None:
        data, split = origin.validation, HELD_OUT
        scores = torch.stack([network.fitted.held_out_scores for network in networks], dim=1)
    else:
        scores = read_scores(
            [network.scored for network in networks], data, origin.contract, origin.device
        )
    for own, network in zip(scores.unbind(1), networks, strict=True):
        yield measure(own, data.labels == network.class_index, split)
