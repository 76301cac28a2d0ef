"""Training through views: images seen with the kernels of one class alone.

A class module keeps only its class's kernels. A network that has never been seen that way loses
much when it is cut; the last part of training shows it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from modpm.core.training.objectives import Losses, MwtObjective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.graph.interpreter import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.running_frequencies import RunningFrequencies

START = 2 / 3
"""Share of the run after which views begin."""

OWN_CLASS = 0.4
"""Share of views that show an image with the kernels of its own class."""


class ViewsObjective(MwtObjective):
    """MwT, and towards the end half of each batch seen through module masks.

    Each image of that half is seen through the module mask of one class, its own or a random one,
    and judged by whether the logit of that class says if the image shows it. Batch norms use
    their running statistics then, as a class module does.

    Attributes:
        threshold: Frequency at or above which a module mask retains a kernel.
    """

    def __init__(
        self,
        network: GraphNetwork,
        frequencies: RunningFrequencies,
        *,
        alpha: float,
        beta: float,
        threshold: float,
        is_half: bool = False,
    ) -> None:
        super().__init__(network, frequencies, alpha=alpha, beta=beta, is_half=is_half)
        self.threshold = threshold

    def inputs(
        self,
        positions: Tensor,
        source: TrainingImages,
        generator: torch.Generator,
        progress: float,
    ) -> tuple[Tensor, ...]:
        """Draw a batch; towards the end, half a batch, half a batch to view, and its views."""
        if progress < START:
            return super().inputs(positions, source, generator, progress)
        n_viewed = len(positions) // 2
        viewed = source.batch(positions[:n_viewed], generator)
        whole = source.batch(positions[n_viewed:], generator)
        is_own = torch.rand(n_viewed, generator=generator) < OWN_CLASS
        others = torch.randint(len(source.data.classes), (n_viewed,), generator=generator)
        return *whole, *viewed, torch.where(is_own, viewed.labels, others)

    def forward(self, images: Tensor, labels: Tensor, *viewed: Tensor) -> Losses:
        """Return the losses of one step.

        Shapes:
            images: (N, C, H, W)
            labels: (N,)
            viewed: nothing, or images (M, C, H, W), labels (M,) and classes to view as (M,).
        """
        losses = super().forward(images, labels)
        if viewed:
            losses["view_loss"] = self._view_loss(*viewed)
            losses["loss"] = losses["loss"] + losses["view_loss"]
        return losses

    def _view_loss(self, images: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        masks = self.frequencies.module_masks(self.threshold)
        scale = {self.mask_nodes[layer]: mask[classes] for layer, mask in masks.items()}
        output = self.network.graph.output
        with running_statistics(self.network):
            logits = self.run(images, (output,), scale)[output]
        own = logits.gather(1, classes[:, None])[:, 0]
        return binary_cross_entropy_with_logits(own, (labels == classes).float())


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norms use their running statistics, and leave them as they are."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    modes = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.train(mode)
