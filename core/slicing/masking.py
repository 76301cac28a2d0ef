"""Networks whose other kernels are forced to zero: what slicing is measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.graph.interpreter import GraphNetwork, build
from modpm.core.graph.shapes import infer_shapes
from modpm.core.slicing.retained import Retained, checked, mask_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modpm.core.formats.network_graph import Graph


class MaskedNetwork(nn.Module):
    """A network that multiplies values by masks as they are computed."""

    def __init__(self, network: GraphNetwork, output: str, masks: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self._output = output
        self._names = list(masks)
        for place, mask in enumerate(masks.values()):
            self.register_buffer(f"mask_{place}", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Return the masked network's output.

        Shapes:
            x: (N, C, H, W) -> (N, F)
        """
        masks = {name: self.get_buffer(f"mask_{i}") for i, name in enumerate(self._names)}
        return self.network.run(x, (self._output,), masks)[self._output]


def mask_network(graph: Graph, tensors: Mapping[str, Tensor], retained: Retained) -> nn.Module:
    """Return a network in which all but the retained kernels are zero.

    A kernel is zero where it leaves its convolution, or the batch normalization that alone
    reads it; a linear layer's feature where it leaves the layer.

    Args:
        graph: A network.
        tensors: Its tensors.
        retained: Convolutions, and linear layers, to the kernels that stay; one that is not
            named keeps all.

    Raises:
        ModpmError: `retained` does not fit (`bad-retained-kernels`), or the graph is invalid.
    """
    kept = checked(graph, retained)
    points = mask_points(graph, kept)
    shapes = infer_shapes(graph)
    dtype = next((tensor.dtype for tensor in tensors.values()), torch.get_default_dtype())
    masks = {name: torch.zeros(shapes[name][0], dtype=dtype) for name in points}
    for name, indices in points.items():
        masks[name][indices] = 1
    return MaskedNetwork(build(graph, tensors), graph.output, masks)
