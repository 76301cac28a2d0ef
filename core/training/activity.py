"""Which kernels the samples of each class activate: counted in one pass over images.

Methods whose kernels are found so have `Counting` in common.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch.nn.functional import pad

from modpm.core.slicing import own_kernels
from modpm.core.training.evidence import DEFAULT_THRESHOLD, Cutoff, Evidence, Frequencies
from modpm.core.training.inference import device_of, normalizing, read
from modpm.core.training.methods.method import Method, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages


def channel_means(value: Tensor) -> Tensor:
    """Return the mean of each channel: (N, K, H, W), or (N, K) as it is, to (N, K)."""
    return value.mean((2, 3)) if value.dim() == 4 else value  # noqa: PLR2004 -- of an image


class _Tally:
    """What is kept of the values of batches: which kernels are active, and how strongly.

    Args:
        labels: Of all images, in the order in which they come.
        n_classes: Of the data.
        n_kernels: Of all layers.
        device: Where values come from.

    Attributes:
        strengths: The sum of each kernel's channel means over the images of each class that came;
            (n_classes, n_kernels), float64.
    """

    def __init__(
        self, labels: Tensor, n_classes: int, n_kernels: int, device: torch.device
    ) -> None:
        self._labels = labels.to(device)
        self._n_done = 0
        # As exact as the order of sums allows, where the device has such numbers.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.strengths = torch.zeros(n_classes, n_kernels, dtype=dtype, device=device)

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add a batch; return which kernels each of its images activates, as packed bits."""
        strength = torch.cat([channel_means(value) for value in values.values()], dim=1)
        labels = self._labels[self._n_done : self._n_done + len(strength)]
        self._n_done += len(strength)
        self.strengths.index_add_(0, labels, strength.to(self.strengths.dtype))
        return {"active": _packed(strength > 0)}


def count_active(
    network: GraphNetwork,
    nodes: Mapping[str, str],
    images: TrainingImages,
    progress: Callable[[int, int], None] | None = None,
    kind: type[Frequencies] = Frequencies,
) -> Frequencies:
    """Count, in one pass over images, which kernels the samples of each class activate.

    What is held does not grow with the samples but for one bit for each of their kernels.

    Args:
        network: Run in evaluation mode.
        nodes: For each convolution, the node whose channels say whether its kernels are active:
            their values are 0 or more, and that of an active kernel is somewhere more.
        images: The images.
        progress: Told after each batch how far it is.
        kind: What evidence is made of the counts.
    """
    n_kernels, data = network.graph.kernels(), images.data
    sizes = [n_kernels[layer] for layer in nodes]
    tally = _Tally(data.labels, len(data.classes), sum(sizes), device_of(network))
    packed = read(
        network,
        images.pixels,
        normalizing(images.contract),
        _distinct(nodes.values()),
        kept=lambda values: tally({layer: values[node] for layer, node in nodes.items()}),
        progress=progress,
    )["active"]

    def sample_masks(class_index: int) -> Tensor:
        own = packed[data.labels == class_index].numpy()
        return torch.from_numpy(np.unpackbits(own, axis=1, count=sum(sizes))).bool()

    counts = torch.stack([sample_masks(i).sum(0) for i in range(len(data.classes))])
    return kind(
        _by_layer(counts, nodes, sizes),
        torch.bincount(data.labels, minlength=len(data.classes)),
        own_kernels(network.graph),
        _by_layer(tally.strengths.cpu(), nodes, sizes),
        sample_masks,
    )


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _by_layer(joined: Tensor, layers: Iterable[str], sizes: Sequence[int]) -> dict[str, Tensor]:
    return dict(zip(layers, torch.split(joined, list(sizes), dim=1), strict=True))


def _packed(bits: Tensor) -> Tensor:
    """Return eight bits as one byte, the first the highest.

    Shapes:
        bits: (N, K), boolean → (N, ⌈K / 8⌉), uint8
    """
    padded = pad(bits, (0, -bits.shape[1] % 8))
    places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (padded.view(len(bits), padded.shape[1] // 8, 8) * places).sum(2, dtype=torch.uint8)


def _retained_share(mine: Frequencies, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Return the share of the network's own kernels that a class would retain now, on average.

    Args:
        mine: What this process has counted on its share of the images.
        total: Adds up the numbers that each process has found.
    """
    counts = {layer: total(table) for layer, table in mine.counts.items()}
    found = replace(mine, counts=counts, n_samples=total(mine.n_samples))
    masks = found.masks(Cutoff(threshold=DEFAULT_THRESHOLD))
    n_cut = sum(mask.shape[1] - mask.sum(1).float().mean() for mask in masks.values())
    return {"kernel_retention_rate": 1 - float(n_cut) / mine.n_all}


class Counting(Method):
    """A method after whose training active kernels are counted: those of both papers.

    Attributes:
        kind: What evidence the counts are.
    """

    kind: ClassVar[type[Frequencies]] = Frequencies

    @staticmethod
    @abstractmethod
    def counted(graph: Graph) -> Mapping[str, str]:
        """Return, for each convolution, the node that says whether its kernels are active."""

    @classmethod
    def recipe(cls, *, is_trained: bool) -> Recipe:
        """Return the papers'."""
        return Recipe(lr=0.02 if is_trained else 0.05, weight_decay=0.0, warm_up=0.0)

    def measures(
        self, images: TrainingImages, total: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        """Return the share of all kernels that a class would retain now, on average."""
        nodes = self.counted(self.network.graph)
        return _retained_share(count_active(self.network, nodes, images, kind=self.kind), total)

    @classmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return what the counts are."""
        return cls.kind

    @classmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],  # noqa: ARG003 -- it finds nothing while it trains
        images: TrainingImages,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evidence:
        """Return how often training images of each class activate each kernel."""
        return count_active(network, cls.counted(network.graph), images, progress, cls.kind)
