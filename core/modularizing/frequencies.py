"""Kernel frequencies: which kernels the samples of each class activate, counted in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from modpm.core.modularizing.passes import batches
from modpm.core.training.mask_generators import mask_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import GraphNetwork
    from modpm.core.modularizing.passes import Progress


@dataclass(frozen=True)
class KernelFrequencies:
    """How often the samples of each class activate each kernel, and which samples do.

    Attributes:
        counts: Samples of each class with a mask above 0, for each kernel, by convolution.
        n_samples: Samples of each class.
        labels: The class of each sample.
        packed: One bit for each sample and kernel, eight to a byte, convolutions side by side.

    Shapes:
        counts: (n_classes, K) each, int64.
        n_samples: (n_classes,)
        labels: (N,)
        packed: (N, ceil(ΣK / 8)), uint8.
    """

    counts: dict[str, Tensor]
    n_samples: Tensor
    labels: Tensor
    packed: NDArray[np.uint8]

    def sample_masks(self, class_index: int) -> Tensor:
        """Return the binary masks of all samples of one class; boolean, (n, ΣK)."""
        rows = self.packed[(self.labels == class_index).numpy()]
        n_kernels = sum(table.shape[1] for table in self.counts.values())
        return torch.from_numpy(np.unpackbits(rows, axis=1, count=n_kernels)).bool()


@torch.inference_mode()
def count_kernels(
    network: GraphNetwork,
    data: ImageData,
    contract: InputContract,
    progress: Progress | None = None,
) -> KernelFrequencies:
    """Count, in one pass over images, which kernels the samples of each class activate.

    What is held does not grow with the samples but for one bit for each of their kernels, which
    `metrics.cohesion` needs.

    Args:
        network: A modular network in evaluation mode.
        data: The images it was trained on.
        contract: How images are normalised.
        progress: Told after each batch how far it is.
    """
    nodes = mask_nodes(network.graph)
    n_kernels = {conv: network.graph.kernels()[conv] for conv in nodes}
    counts = torch.zeros(len(data.classes), sum(n_kernels.values()), dtype=torch.int64)
    packed = []
    for images, labels in batches(data, contract, progress):
        masks = network.run(images, tuple(nodes.values()))
        active = torch.cat([masks[node] > 0 for node in nodes.values()], dim=1)
        counts += count_by_class(active, labels, len(data.classes))
        packed.append(np.packbits(active.numpy(), axis=1))
    return KernelFrequencies(
        counts=dict(
            zip(n_kernels, torch.split(counts, list(n_kernels.values()), dim=1), strict=True)
        ),
        n_samples=torch.bincount(data.labels, minlength=len(data.classes)),
        labels=data.labels,
        packed=np.concatenate(packed),
    )


def count_by_class(active: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Count, for each class, the samples for which each kernel is active.

    Shapes:
        active: (N, K), boolean; labels: (N,); returns: (n_classes, K), int64.
    """
    members = one_hot(labels, n_classes).float()
    return (members.T @ active.float()).long()
