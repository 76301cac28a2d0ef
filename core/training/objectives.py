"""What each method of training minimises: one step's losses, from one step's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modpm.core.training.losses import modular_losses
from modpm.core.training.mask_generators import mask_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.graph.interpreter import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.running_frequencies import RunningFrequencies

Losses = dict[str, Tensor]
"""Each part by its name, and the sum that is minimised as `loss`."""


class PlainObjective(nn.Module):
    """Cross-entropy, for comparison.

    Attributes:
        network: What is trained.
        is_half: Convolutions and matrix products run in bfloat16.
    """

    def __init__(self, network: GraphNetwork, *, is_half: bool = False) -> None:
        super().__init__()
        self.network = network
        self.is_half = is_half

    def inputs(
        self,
        positions: Tensor,
        source: TrainingImages,
        generator: torch.Generator,
        progress: float,  # noqa: ARG002 -- methods that change as training goes on read it
    ) -> tuple[Tensor, ...]:
        """Draw what one step reads.

        Args:
            positions: Of this step's images in `source`.
            source: All training images.
            generator: The only source of chance.
            progress: Share of the run that is done, in [0, 1).

        Returns:
            What `forward` takes.
        """
        return source.batch(positions, generator)

    def forward(self, images: Tensor, labels: Tensor) -> Losses:
        """Return the losses of one step.

        Shapes:
            images: (N, C, H, W)
            labels: (N,)
        """
        output = self.network.graph.output
        loss = cross_entropy(self.run(images, (output,))[output], labels)
        return {"loss": loss, "cross_entropy": loss}

    def constrain(self, before: float, after: float) -> None:
        """Put the network back, after a step, into what the method allows.

        Args:
            before: Share of the run that was done before the step, in [0, 1).
            after: The same after it.
        """

    def run(
        self, images: Tensor, outputs: Sequence[str], scale: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Run the network in the run's precision; values of nodes as float32."""
        # Not accelerate's mixed precision, which a process can choose only once.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_half):
            values = self.network.run(images, outputs, scale)
        return {name: value.float() for name, value in values.items()}


class MwtObjective(PlainObjective):
    """Cross-entropy + alpha · cohesion loss + beta · coupling loss.

    Attributes:
        frequencies: Which kernels each class has activated lately.
        alpha, beta: The weights of the two losses.
        layer_weights: What each layer counts in them; None for the plain mean of the paper.

    Source:
        Modularizing while Training (arXiv 2306.09376).
        Departs: with several processes, pairs are those within a process's part of a batch.
    """

    def __init__(
        self,
        network: GraphNetwork,
        frequencies: RunningFrequencies,
        *,
        alpha: float,
        beta: float,
        is_half: bool = False,
    ) -> None:
        super().__init__(network, is_half=is_half)
        self.frequencies = frequencies
        self.alpha, self.beta = alpha, beta
        self.layer_weights: list[float] | None = None
        self.mask_nodes = mask_nodes(network.graph)
        self.n_kernels = sum(network.graph.kernels().values())

    def retention_rate(self, threshold: float) -> float:
        """Return the share of all kernels that a class's module would keep now, on average.

        Args:
            threshold: Kernel frequency at or above which a kernel is retained.
        """
        return self.frequencies.retention_rate(threshold, self.n_kernels)

    def forward(self, images: Tensor, labels: Tensor) -> Losses:
        """Return the losses of one step, and count which kernels the images activate.

        Shapes:
            images: (N, C, H, W)
            labels: (N,)
        """
        output = self.network.graph.output
        values = self.run(images, (output, *self.mask_nodes.values()))
        return self.losses(values, labels, self.alpha, self.beta)

    def losses(
        self,
        values: Mapping[str, Tensor],
        labels: Tensor,
        alpha: float | Tensor,
        beta: float | Tensor,
    ) -> Losses:
        """Return the losses of images that were run, and count which kernels they activate.

        Args:
            values: Of the network's output and of the nodes of masks.
            labels: The class of each image.
            alpha: The weight of the cohesion loss.
            beta: The weight of the coupling loss.
        """
        masks = {layer: values[node] for layer, node in self.mask_nodes.items()}
        entropy = cross_entropy(values[self.network.graph.output], labels)
        cohesion, coupling = modular_losses(masks, labels, self.layer_weights)
        self.frequencies.update(masks, labels)
        return {
            "loss": entropy + alpha * cohesion + beta * coupling,
            "cross_entropy": entropy,
            "cohesion_loss": cohesion,
            "coupling_loss": coupling,
        }
