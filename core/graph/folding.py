"""Folding: batch normalizations by their running statistics become part of the layers before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace

from modpm.core.graph.operators.definition import float_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph, Node

_WEIGHTED = {"conv2d", "linear"}
_AFFINE = {"batch_norm2d", "channel_affine"}


def fold(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """Return a network that computes the same in evaluation mode, up to rounding, in fewer nodes.

    A batch normalization, or another factor and summand for each channel, becomes part of the
    convolution or linear layer that it alone reads. It stays where the layer is read by others
    too, or where the folded numbers are too large for their type.

    Args:
        graph: A valid graph.
        tensors: Every tensor that it names; they are not changed.

    Source:
        Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-
        only inference (CVPR 2018), section 3.2.
    """
    readers = Counter([graph.output, *(name for node in graph.nodes for name in node.inputs)])
    nodes: dict[str, Node] = {}
    new, free = dict(tensors), graph.free_name("folded")
    for node in graph.nodes:
        layer = nodes.get(node.inputs[0])
        nodes[node.name] = node
        if layer is None or node.operator not in _AFFINE or layer.operator not in _WEIGHTED:
            continue
        numbers = _folded(layer, node, new)
        if readers[layer.name] == 1 and all(bool(x.isfinite().all()) for x in numbers.values()):
            roles = {role: f"{free}.{len(new)}.{role}" for role in numbers}
            new |= {roles[role]: tensor for role, tensor in numbers.items()}
            nodes[node.name] = replace(layer, name=node.name, tensors=roles)
            del nodes[layer.name]
    named = [name for node in nodes.values() for name in node.tensors.values()]
    return replace(graph, nodes=tuple(nodes.values())), {name: new[name] for name in named}


def _folded(layer: Node, affine: Node, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weight and the bias of a layer whose channels are multiplied and shifted."""
    dtype = tensors[layer.tensors["weight"]].dtype
    exact = torch.promote_types(dtype, torch.float32)
    own, other = (
        {role: tensors[name].to(exact) for role, name in node.tensors.items()}
        for node in (layer, affine)
    )
    weight = own["weight"]
    zeros = weight.new_zeros(len(weight))
    scale, shift = other.get("weight", zeros + 1), other.get("bias", zeros)
    if affine.operator == "batch_norm2d":
        scale = scale * (other["running_var"] + float_of(affine, "eps")).rsqrt()
        shift = shift - other["running_mean"] * scale
    bias = own.get("bias", zeros) + own.get("offset", zeros)
    rows = scale.view(-1, *(1,) * (weight.dim() - 1))
    return {"weight": (weight * rows).to(dtype), "bias": (bias * scale + shift).to(dtype)}
