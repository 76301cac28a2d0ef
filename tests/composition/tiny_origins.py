"""Origins that are made in milliseconds, and class modules cut out of them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.formats.card import render_card
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import write_distribution
from modpm.core.formats.manifest import (
    CARD_FILE,
    LICENSE_FILE,
    TENSOR_FILE,
    Calibration,
    ClassMetrics,
    InputContract,
    Manifest,
    Modularizer,
    Origin,
    OutputContract,
    Provenance,
    RetainedKernels,
)
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build, count, trace
from modpm.core.slicing import slice_graph
from modpm.core.tensors import encode_tensors
from modpm.core.training.methods.mwt import attach_mask_generators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CLASSES = ("bird", "cat", "dog", "frog")


class PlainCNN(nn.Module):
    """Three convolutions with batch norm, one pooling, one linear layer."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 10, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(10)
        self.linear = nn.Linear(10, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = nn.functional.max_pool2d(x, 2)
        x = self.bn3(self.conv3(x)).relu()
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class DenseCNN(nn.Module):
    """Convolutions that read batch norms of all that was before them: cut kernels leave constants.

    Args:
        padding: Of the convolution that reads constants; constants cannot be folded where there
            is any.
    """

    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 6, 1 + 2 * padding, padding=padding)
        self.bn2 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 8, 1)
        self.bn3 = nn.BatchNorm2d(20)
        self.linear = nn.Linear(20, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(self.bn1(x).relu())], 1)
        x = torch.cat([x, self.conv2(self.bn2(x).relu())], 1)
        logits: Tensor = self.linear(self.bn3(x).relu().mean((2, 3)))
        return logits


class TinyOrigin:
    """A network with random weights and statistics, as a modular network would be.

    Args:
        network: Its architecture.
        seed: Of everything random in it.
        size: Height and width of its images.
        channels: 3 for color, 1 for gray.
        has_generators: Whether it gets mask generators.
        namespace: Of the modules cut out of it.
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        seed: int = 0,
        size: int = 8,
        channels: int = 3,
        has_generators: bool = True,
        namespace: str = "tiny",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        network = PlainCNN(channels) if network is None else network
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.4)
        for name, tensor in network.named_buffers():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        self.graph, self.tensors = trace(network.eval(), torch.zeros(2, channels, size, size))
        if has_generators:
            self.graph, self.tensors = attach_mask_generators(
                self.graph, self.tensors, generator=generator
            )
        self.namespace, self.has_generators = namespace, has_generators
        self.input = InputContract(
            channels=3 if channels == 3 else 1,
            height=size,
            width=size,
            mean=[0.4, 0.5, 0.6][:channels],
            std=[0.2, 0.25, 0.3][:channels],
        )
        self.network = build(self.graph, self.tensors).eval()

    def whole(self) -> dict[str, list[int]]:
        """Return all kernels of every convolution."""
        return {conv: list(range(n)) for conv, n in self.graph.kernels().items()}

    def some(self, seed: int, share: float = 0.6) -> dict[str, list[int]]:
        """Return random kernels of every convolution, one at least of each.

        Of the first convolution all, where there are mask generators: it has none.
        """
        generator = torch.Generator().manual_seed(seed)
        return {
            conv: sorted(
                torch.randperm(n, generator=generator)[: max(1, round(share * n))].tolist()
            )
            for conv, n in list(self.graph.kernels().items())[self.has_generators :]
        }

    def module(
        self,
        class_name: str,
        retained: Mapping[str, Sequence[int]] | None = None,
        *,
        slope: float = 1.5,
        intercept: float = -0.25,
        **changes: object,
    ) -> ClassModule:
        """Cut a class module.

        Args:
            class_name: One of `CLASSES`.
            retained: Kernels that stay; all where None.
            slope, intercept: Of its calibration.
            changes: Fields of the manifest that are otherwise.
        """
        class_index = CLASSES.index(class_name)
        kept = self.whole() if retained is None else dict(retained)
        graph, tensors = _with_score(
            *slice_graph(self.graph, self.tensors, kept, [class_index]), slope, intercept
        )
        calibration = Calibration(
            kind="platt", split="validation", n=10, slope=slope, intercept=intercept
        )
        return ClassModule(
            self._manifest(
                class_name,
                graph=graph,
                tensors=tensors,
                kept=kept,
                calibration=calibration,
                changes=changes,
            ),
            tensors,
        )

    def _manifest(
        self,
        class_name: str,
        *,
        graph: Graph,
        tensors: Mapping[str, Tensor],
        kept: Mapping[str, Sequence[int]],
        calibration: Calibration,
        changes: dict[str, object],
    ) -> Manifest:
        own, whole = count(graph, tensors), count(self.graph, self.tensors)
        kernels = self.graph.kernels()
        n_kept = sum(len(kept.get(conv, range(n))) for conv, n in kernels.items())
        fields: dict[str, object] = {
            "name": f"{self.namespace}/{class_name}",
            "version": "1.0.0",
            "label": f"{self.namespace}/{class_name}",
            "license": "Apache-2.0",
            "origin": Origin(
                digest=digest_bytes(encode_tensors(self.tensors)),
                architecture="tiny",
                classes=list(CLASSES),
                graph=self.graph,
                n_parameters=whole.n_parameters,
                size_bytes=whole.size_bytes,
                macs=whole.macs,
            ),
            "input": self.input,
            "output": OutputContract(
                score="score",
                logit=graph.node("score").inputs[0],
                class_index=CLASSES.index(class_name),
            ),
            "graph": graph,
            "retained": {
                conv: RetainedKernels(total=kernels[conv], retained=list(indices))
                for conv, indices in kept.items()
            },
            "calibration": calibration,
            "modularizer": Modularizer(method="mwt", threshold=0.9),
            "metrics": [
                ClassMetrics(
                    split="test",
                    n=10,
                    n_positive=5,
                    precision=1.0,
                    recall=0.8,
                    average_precision=0.9,
                )
            ],
            "kernel_retention_rate": n_kept / sum(kernels.values()),
            "n_parameters": own.n_parameters,
            "size_bytes": own.size_bytes,
            "macs": own.macs,
            "provenance": Provenance(data_set="tiny", fingerprint="none"),
            **changes,
        }
        return Manifest(**fields)  # type: ignore[arg-type]  # each as its field says


def _with_score(
    graph: Graph, tensors: Mapping[str, Tensor], slope: float, intercept: float
) -> tuple[Graph, dict[str, Tensor]]:
    roles = {"weight": "score.weight", "bias": "score.bias"}
    score = Node("score", "linear", (graph.output,), {"n_features": 1}, roles)
    with_score = Graph(graph.input, graph.input_shape, (*graph.nodes, score), "score")
    return with_score, {
        **tensors,
        "score.weight": torch.tensor([[slope]]),
        "score.bias": torch.tensor([intercept]),
    }


@cache
def tiny_origin(seed: int = 0, *, channels: int = 3, size: int = 8) -> TinyOrigin:
    """Return an origin that is made once, with mask generators."""
    return TinyOrigin(seed=seed, channels=channels, size=size, namespace=f"tiny{seed or ''}")


@cache
def dense_origin(padding: int = 0) -> TinyOrigin:
    """Return an origin in which cut kernels leave constants, made once."""
    return TinyOrigin(DenseCNN(padding), has_generators=False)


def publish(module: ClassModule, folder: Path) -> Path:
    """Write a class module as a distribution."""
    files = {
        TENSOR_FILE: encode_tensors(module.tensors),
        CARD_FILE: render_card(module.manifest).encode(),
        LICENSE_FILE: b"SPDX-License-Identifier: Apache-2.0\n",
    }
    write_distribution(folder, module.manifest, files)
    return folder


def images(n: int, *, channels: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    """Return random bytes as images."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, channels, size, size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
