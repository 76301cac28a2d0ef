"""What a run does besides so that its network tells unknown images, whatever its method is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import Batch, TrainingImages
    from modpm.core.training.methods.method import Losses, Method

CHECKED_AFTER = 1 / 4
"""Share of a run after which it is checked that there is something to learn."""

N_STEPS = 200
"""So many steps are taken before that, or all: a network that has just begun tells little."""


class OpenSet(nn.Module):
    """What is added to a method of training; by itself it changes nothing.

    Its state dict is part of its method's, so that a checkpoint keeps it; its parameters are
    trained as those of the network; and none of it is in the trained network.

    Args:
        network: What is trained.

    Attributes:
        n_drawn: How many tensors `draw` returns.
    """

    n_drawn: ClassVar[int] = 0

    def __init__(self, network: GraphNetwork | None = None) -> None:  # noqa: ARG002 -- for those that read it
        super().__init__()

    @classmethod
    def check_input(cls, contract: InputContract) -> None:
        """Check, before anything is trained, that images are such as it needs.

        Raises:
            ModpmError: They are not (`bad-setting`).
        """

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:  # noqa: ARG002 -- the same
        """Return what `take` is given of a batch.

        Args:
            batch: Augmented, normalized images and their classes.
        """
        return ()

    def logits(self, logits: Tensor) -> Tensor:
        """Return what the cross-entropy is taken of; (N, n_classes) to the same."""
        return logits

    def take(self, *drawn: Tensor) -> None:
        """Take note of what `draw` returned for a step that begins."""

    def run(
        self,
        network: GraphNetwork,
        images: Tensor,
        outputs: Sequence[str],
        scale: Mapping[str, Tensor] | None,
    ) -> dict[str, Tensor]:
        """Run the network that is trained, for its method, as `GraphNetwork.run` does."""
        return network.run(images, outputs, scale)

    def add(self, losses: Losses) -> Losses:
        """Return the losses of a step that ends, the method's, with its own.

        Raises:
            ModpmError: It cannot be trained for with this method (`bad-setting`).
        """
        return losses

    def measures(
        self,
        method: Method,  # noqa: ARG002 -- the same
        images: TrainingImages,  # noqa: ARG002 -- the same
        total: Callable[[Tensor], Tensor],  # noqa: ARG002 -- the same
    ) -> dict[str, float]:
        """Return what is measured after an epoch, by its name.

        Args:
            method: Has the network.
            images: This process's share of the held-out images.
            total: Adds up the numbers that each process has found of its share.
        """
        return {}

    def check_measures(self, measured: Mapping[str, float], n_images: int, where: str) -> None:
        """Check, after the epoch of `checked_epoch`, that the network has learned of it.

        Args:
            measured: What `measures` returned.
            n_images: How many images it was measured on.
            where: The run and the epoch.

        Raises:
            ModpmError: It has not (`rotations-not-told`).
        """


def checked_epoch(n_epochs: int, n_steps: int) -> int:
    """Return after which epoch, from 1, it is checked that there is something to learn.

    Args:
        n_epochs: Of the run.
        n_steps: Of an epoch.
    """
    return min(n_epochs, max(math.ceil(CHECKED_AFTER * n_epochs), math.ceil(N_STEPS / n_steps)))
