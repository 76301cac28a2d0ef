"""Training through views: images seen with the kernels of one class alone.

A class module keeps only its class's kernels. A network that has never been seen that way loses
much when it is cut. So the last part of training shows it: some images of each batch pass through
the module mask of one class and are judged by whether that class's logit says if they show it.
And each image's masks are drawn towards the module mask of its class, kernel by kernel, so that
what is cut away was not in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from modpm.core.training.losses import modular_losses
from modpm.core.training.mask_generators import score_nodes
from modpm.core.training.objectives import Losses, MwtObjective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modpm.core.graph.interpreter import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.running_frequencies import RunningFrequencies

START = 8 / 15
"""Share of the run after which views and sharpening begin; found on validation data."""

VIEWED = 1 / 2
"""Share of a batch that is seen through module masks."""

OWN_CLASS = 0.4
"""Share of views that show an image with the kernels of its own class."""

SHARPENING = 3.0
"""Weight of the sharpening loss."""

SHARPENING_THRESHOLD = 0.5
"""Frequency at or above which a kernel is drawn into its class's module mask, not out of it."""

_OFF, _ON = -0.1, 0.2  # scores of mask generators beyond which nothing is left to sharpen


class ViewsObjective(MwtObjective):
    """MwT, and towards the end views through module masks, and sharpened masks.

    Layers count in the modular losses by their kernels, so that wide layers, which hold most of
    a module, separate most.

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
        self.score_nodes = score_nodes(network.graph)
        n_kernels = frequencies.n_kernels
        self.layer_weights = [n / sum(n_kernels.values()) for n in n_kernels.values()]

    def inputs(
        self,
        positions: Tensor,
        source: TrainingImages,
        generator: torch.Generator,
        progress: float,
    ) -> tuple[Tensor, ...]:
        """Draw a batch and, towards the end, the classes that its last images are viewed as."""
        images, labels = super().inputs(positions, source, generator, progress)
        n_viewed = 0 if progress < START else int(len(labels) * VIEWED)
        own = labels[len(labels) - n_viewed :]
        is_own = torch.rand(n_viewed, generator=generator) < OWN_CLASS
        others = torch.randint(len(source.data.classes), (n_viewed,), generator=generator)
        return images, labels, torch.where(is_own, own, others)

    def forward(  # type: ignore[override]  # it takes what its own `inputs` returns
        self, images: Tensor, labels: Tensor, viewed_as: Tensor
    ) -> Losses:
        """Return the losses of one step.

        Whole and viewed images share their batch statistics, as both share the running
        statistics later.

        Shapes:
            images: (N, C, H, W)
            labels: (N,)
            viewed_as: (M,), the classes as which the last M images are viewed; M may be 0.
        """
        n_whole = len(labels) - len(viewed_as)
        scale = self._views(n_whole, viewed_as) if len(viewed_as) else None
        output = self.network.graph.output
        nodes = (output, *self.mask_nodes.values(), *self.score_nodes.values())
        values = self.run(images, nodes, scale)
        whole = {name: value[:n_whole] for name, value in values.items()}
        losses = self._whole_losses(whole, labels[:n_whole])
        if len(viewed_as):
            scores = {layer: whole[node] for layer, node in self.score_nodes.items()}
            masks = self.frequencies.module_masks(SHARPENING_THRESHOLD)
            losses["sharpening_loss"] = sharpening_loss(scores, masks, labels[:n_whole])
            losses["view_loss"] = view_loss(values[output][n_whole:], labels[n_whole:], viewed_as)
            losses["loss"] = (
                losses["loss"] + SHARPENING * losses["sharpening_loss"] + losses["view_loss"]
            )
        return losses

    def _views(self, n_whole: int, viewed_as: Tensor) -> dict[str, Tensor]:
        """Return what multiplies each mask: 1 for whole images, then module masks."""
        module_masks = self.frequencies.module_masks(self.threshold)
        return {
            self.mask_nodes[layer]: torch.cat(
                [masks.new_ones(n_whole, masks.shape[1]), masks[viewed_as]]
            )
            for layer, masks in module_masks.items()
        }

    def _whole_losses(self, values: Mapping[str, Tensor], labels: Tensor) -> Losses:
        masks = {layer: values[node] for layer, node in self.mask_nodes.items()}
        entropy = cross_entropy(values[self.network.graph.output], labels)
        cohesion, coupling = modular_losses(masks, labels, self.layer_weights)
        self.frequencies.update(masks, labels)
        return {
            "loss": entropy + self.alpha * cohesion + self.beta * coupling,
            "cross_entropy": entropy,
            "cohesion_loss": cohesion,
            "coupling_loss": coupling,
        }


def view_loss(logits: Tensor, labels: Tensor, viewed_as: Tensor) -> Tensor:
    """Return how wrongly each image's viewed class says whether the image shows it.

    Shapes:
        logits: (M, n_classes)
        labels, viewed_as: (M,)
        returns: (), the mean binary cross-entropy.
    """
    own = logits.gather(1, viewed_as[:, None])[:, 0]
    return binary_cross_entropy_with_logits(own, (labels == viewed_as).float())


def sharpening_loss(
    scores: Mapping[str, Tensor], module_masks: Mapping[str, Tensor], labels: Tensor
) -> Tensor:
    """Return how far masks are from the module mask of their sample's class.

    A hinge on the scores of the mask generators: below -0.1 for kernels outside the module mask,
    above 0.2 for kernels in it. Its gradient reaches masks that are exactly 0, where that of the
    modular losses vanishes.

    Args:
        scores: For each layer, the mask generator's values before tanh.
        module_masks: For each layer, each class's module mask of 0 and 1.
        labels: The class of each sample.

    Shapes:
        scores: (N, K) each
        module_masks: (n_classes, K) each
        labels: (N,)
        returns: (), the mean over samples and kernels of all layers.
    """
    score = torch.cat([scores[layer] for layer in module_masks], 1)
    retained = torch.cat([masks[labels] for masks in module_masks.values()], 1)
    excess = (score - _OFF).clamp_min(0) * (1 - retained)
    shortfall = (_ON - score).clamp_min(0) * retained
    return (excess + shortfall).mean()
