"""A scorer: a network that gives one score for each of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.errors import ModpmError
from modpm.core.graph import Cost, build, count, infer_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.manifest import InputContract
    from modpm.core.formats.network_graph import Graph


class Scorer(nn.Module):
    """One network of a classifier: a class module, or several that were fused.

    Args:
        labels: What it scores, in the order of its outputs.
        contract: What an image must be.
        graph: The network.
        tensors: Every tensor that the graph names.

    Shapes:
        (N, C, H, W), normalised as the contract says → (N, len(labels))

    Raises:
        ModpmError: The graph or a tensor is invalid, or does not fit the labels or the contract
            (`invalid-graph`).
    """

    def __init__(
        self,
        labels: Sequence[str],
        contract: InputContract,
        graph: Graph,
        tensors: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.contract = contract
        _check_fit(self.labels, contract, graph)
        self.network = build(graph, tensors)
        self.eval()

    @property
    def graph(self) -> Graph:
        """The network as data."""
        return self.network.graph

    @property
    def cost(self) -> Cost:
        """What the network costs, counted."""
        return count(self.graph, self.network.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        """Return a score for each image and label."""
        return precise(self.network(images))


def precise(scores: Tensor) -> Tensor:
    """Return scores in single precision at least, whatever a network computes in."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _check_fit(labels: tuple[str, ...], contract: InputContract, graph: Graph) -> None:
    shape = (contract.channels, contract.height, contract.width)
    if graph.input_shape != shape:
        raise _unfit(f"it reads images of {graph.input_shape}, not of {shape}")
    output = infer_shapes(graph)[graph.output]
    if output != (len(labels),):
        raise _unfit(f"it gives {output} numbers an image for {len(labels)} labels")


def _unfit(why: str) -> ModpmError:
    return ModpmError("the network graph is invalid", code="invalid-graph", why=why)
