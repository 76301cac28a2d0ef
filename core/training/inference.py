"""What a network says of many images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.data import normalise

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modpm.core.formats.manifest import InputContract


BATCH_SIZE = 100
"""Measured 1.4 to 1.7 times faster on a CPU than 500: values stay in its caches."""


@torch.no_grad()
def predict_batches(
    network: nn.Module, images: Tensor, contract: InputContract, batch_size: int = BATCH_SIZE
) -> Tensor:
    """Return a network's outputs for images, without gradients and in evaluation mode.

    Args:
        network: Takes normalised images; its mode is put back afterwards.
        images: Decoded images.
        contract: How they are normalised.
        batch_size: Images at once.

    Shapes:
        images: uint8 (N, C, H, W)
        returns: float32 (N, F), on the CPU.
    """
    was_training = network.training
    network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    outputs = [
        network(_prepared(batch, contract).to(device)).float().cpu()
        for batch in torch.split(images, batch_size)
    ]
    network.train(was_training)
    return torch.cat(outputs)


def _prepared(images: Tensor, contract: InputContract) -> Tensor:
    """Return normalised images in the memory format that convolutions on a CPU like best."""
    batch: Tensor = normalise(images, contract.mean, contract.std)
    return batch.contiguous(memory_format=torch.channels_last)


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest output is their class's."""
    return int((outputs.argmax(dim=1) == labels).sum()) / len(labels)
