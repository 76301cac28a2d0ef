"""Learned masks: which kernels a class keeps, found by gradients while the weights stay."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.evidence import ByRetention, first_kernels
from modpm.core.training.inference import device_of
from modpm.core.training.one_vs_rest import OneVsRest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.evidence import Cutoff

N_STEPS = 400
"""Steps of each class."""

SPREAD = 0.5
"""How far apart the first and the last kernel of the ranking start."""

RATE = 0.003
"""Of learning, for the scores of kernels, of which it is the most that one moves in a step."""

KEPT_AT_FIRST = 0.9
"""The retention rate of the first step, where less is asked for."""

SHRINKING = 0.6
"""The share of the steps after which no more kernels are kept than are asked for."""

FAINT = 1e-3
"""What a kernel that is not kept is multiplied by, so that a ReLU after it passes a gradient."""


@dataclass(frozen=True)
class LearnedMasks(ByRetention):
    """Which kernels each class keeps, learned for each size that is asked for.

    Attributes:
        network: Stays as it is.
        images: The training images.
        start: How much each class loses with each kernel, by layer: the order to start from.
        n_all: As for `Ranking`.
        progress: Told how many steps are done, and of how many.

    Shapes:
        start: (n_classes, K) each.
    """

    network: GraphNetwork
    images: TrainingImages
    start: Mapping[str, Tensor]
    n_all: int
    progress: Callable[[int, int], None] | None = None
    _found: dict[Cutoff, dict[str, Tensor]] = field(default_factory=dict)

    def masks(self, cutoff: Cutoff) -> dict[str, Tensor]:
        """Return the kernels that the loss of each class needs most.

        For every class and kernel there is a score; the kernels with the highest are kept, and
        the gradient of the loss by the mask is taken for that by the score. Each step reads as
        many images of the class as of all others, with statistics of the batch, as modules have
        their own.

        Source:
            GradSplitter: Qi et al., Reusing convolutional neural network models through
            modularization and composition (TOSEM 2023).
            Departs: as many kernels are kept as are asked for, of all layers together, where the
            published mask is 1[score > 0] with the mean of masks in the loss; masks and heads
            are learned together; scores start in the order of sensitivity; kernels are taken off
            step by step, by the cubic schedule of Zhu and Gupta, To prune, or not to prune
            (2017), since a gradient tells what one is worth beside those that are there.
        """
        if cutoff not in self._found:
            assert cutoff.retention is not None
            with _statistics_of_batches(self.network):
                rows = [self._scores(label, cutoff.retention) for label in self._labels]
            scores = torch.cat(rows)
            self._found[cutoff] = first_kernels(self._split(scores), self.n_all, cutoff.retention)
        return self._found[cutoff]

    @property
    def _labels(self) -> range:
        return range(len(self.images.data.classes))

    def _split(self, table: Tensor) -> dict[str, Tensor]:
        """Divide what is side by side; (n, ΣK) to (n, K) for each layer."""
        sizes = [one.shape[1] for one in self.start.values()]
        return dict(zip(self.start, torch.split(table, sizes, dim=1), strict=True))

    def _scores(self, label: int, retention: float) -> Tensor:
        """Return the scores that are learned for one class; (1, ΣK), on the processor."""
        device = device_of(self.network)
        first = torch.cat([one[label] for one in self.start.values()])
        places = first.argsort(stable=True).argsort()
        scores = (SPREAD * places / len(places)).float()[None].to(device).requires_grad_()

        def logit(images: Tensor, step: int) -> Tensor:
            return self._logits(images, scores, _kept_at(step, retention))[:, label]

        def tell(step: int) -> None:
            if self.progress is not None:
                self.progress(label * N_STEPS + step, len(self._labels) * N_STEPS)

        OneVsRest(self.images, label, N_STEPS).learn([scores], RATE, logit, tell)
        return scores.detach().cpu()

    def _logits(self, images: Tensor, scores: Tensor, retention: float) -> Tensor:
        """Return what the network says with the kernels that scores keep; (N, n_classes)."""
        kept = first_kernels(self._split(scores.detach()), self.n_all, retention)
        mask = torch.cat(list(kept.values()), 1).to(scores.device, scores.dtype).clamp_min(FAINT)
        mask = mask + scores - scores.detach()
        points, output = cuttable_convolutions(self.network.graph), self.network.graph.output
        scale = {points[layer]: own for layer, own in self._split(mask).items()}
        return self.network.run(images, (output,), scale)[output]


def _kept_at(step: int, retention: float) -> float:
    """Return the retention rate of a step, from 1: ever fewer, and at last what is asked for."""
    left = max(0.0, 1.0 - (step - 1) / (SHRINKING * N_STEPS))
    return retention + max(0.0, KEPT_AT_FIRST - retention) * left**3


@contextmanager
def _statistics_of_batches(network: GraphNetwork) -> Iterator[None]:
    """Let a network normalize by what it reads, and neither learn nor remember anything."""
    were_trained = {name: p.requires_grad for name, p in network.named_parameters()}
    network.requires_grad_(requires_grad=False)
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(were_trained[name])
