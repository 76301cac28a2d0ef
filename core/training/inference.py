"""One pass over images: what a network says of them, without gradients and in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from modpm.core.data import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import GraphNetwork

BATCH_SIZE = 100
"""Measured 1.4 to 1.7 times faster on a CPU than 500: values stay in its caches."""


Progress = Callable[[int, int], None]
"""Told how many images are done, and of how many."""


def batches(
    images: Tensor, contract: InputContract, progress: Progress | None = None
) -> Iterator[Tensor]:
    """Give normalized images, in order.

    Args:
        images: Decoded images.
        contract: How they are normalized.
        progress: Told after each batch.

    Shapes:
        images: uint8 (N, C, H, W)
        returns: float32, in the memory format that convolutions on a CPU like best.
    """
    for start in range(0, len(images), BATCH_SIZE):
        part = images[start : start + BATCH_SIZE]
        batch = normalise(part, contract.mean, contract.std)
        yield batch.contiguous(memory_format=torch.channels_last)
        if progress is not None:
            progress(start + len(part), len(images))


@torch.no_grad()
def read_nodes(
    network: GraphNetwork,
    images: Tensor,
    contract: InputContract,
    nodes: Sequence[str],
    progress: Progress | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Give the values of some nodes of a network, batch by batch.

    Args:
        network: Its mode is put back afterwards.
        images: As for `batches`.
        contract: As for `batches`.
        nodes: Names of nodes.
        progress: As for `batches`.

    Shapes:
        returns: float32 on the CPU.
    """
    with _evaluating(network) as device:
        for batch in batches(images, contract, progress):
            values = network.run(batch.to(device), nodes)
            yield {name: value.float().cpu() for name, value in values.items()}


@torch.no_grad()
def predict_batches(network: nn.Module, images: Tensor, contract: InputContract) -> Tensor:
    """Return a network's outputs for images; float32 (N, F), on the CPU.

    Args:
        network: Its mode is put back afterwards.
        images: As for `batches`.
        contract: As for `batches`.
    """
    with _evaluating(network) as device:
        parts = batches(images, contract)
        return torch.cat([network(batch.to(device)).float().cpu() for batch in parts])


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[torch.device]:
    was_training = network.training
    network.eval()
    try:
        yield next((p.device for p in network.parameters()), torch.device("cpu"))
    finally:
        network.train(was_training)


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest output is their class's; 0 where there are none."""
    return int((outputs.argmax(dim=1) == labels).sum()) / max(1, len(labels))
