"""Values and weights of 8 bits in ONNX, as pairs of QuantizeLinear and DequantizeLinear.

An engine that knows such pairs computes the convolution between them in whole numbers; any other
one computes what modpm does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modpm.core.graph.operators.rounding import LARGEST_LEVEL, Quantize
from modpm.core.graph.stored_weights import from_levels, to_levels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx
    from torch import nn

_MOST_BIAS = 2**31 - 1
_WEIGHTED = {"Conv", "Gemm"}


@torch.library.custom_op("modpm::quantize", mutates_args=())
def _quantize(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """Round to levels, as one call that the exporter sees."""
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, LARGEST_LEVEL)


@_quantize.register_fake
def _(x: Tensor, scale: float, zero_point: int) -> Tensor:  # noqa: ARG001 -- those of the call
    return torch.empty_like(x)


@contextmanager
def recorded_whole(network: nn.Module) -> Iterator[dict[Any, Callable[..., Any]]]:
    """Let rounding be recorded as one call; give what the exporter makes of it."""
    layers = [layer for layer in network.modules() if isinstance(layer, Quantize)]
    for layer in layers:
        layer.recorded = _quantize
    try:
        yield {torch.ops.modpm.quantize.default: _pair} if layers else {}
    finally:
        for layer in layers:
            del layer.recorded


def _pair(x: Any, scale: float, zero_point: int) -> Any:  # noqa: ANN401 -- values of onnxscript
    import onnx  # noqa: PLC0415 -- of the extra `onnx`
    from onnxscript import opset18 as op  # noqa: PLC0415 -- the same

    step: Any = op.Constant(value_float=scale)
    zero = onnx.helper.make_tensor("zero_point", onnx.TensorProto.UINT8, [], [zero_point])
    level: Any = op.Constant(value=zero)
    return op.DequantizeLinear(op.QuantizeLinear(x, step, level), step, level)


def store_weights(model: onnx.ModelProto) -> None:
    """Store the weights of layers that read values of 8 bits in 8 bits, where that is exact.

    Their biases become whole numbers of 32 bits, of the product of both factors, as engines add
    them.

    Args:
        model: It is changed.
    """
    from onnx import numpy_helper  # noqa: PLC0415 -- of the extra `onnx`

    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        source = made.get(node.input[0]) if node.op_type in _WEIGHTED else None
        if source is not None and source.op_type == "DequantizeLinear":
            step = numpy_helper.to_array(constants[source.input[1]])
            nodes += _stored(graph, node, constants, float(step))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _stored(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
    step: float,
) -> Iterator[onnx.NodeProto]:
    """Give the nodes that make weight and bias of a layer of whole numbers, which it reads then."""
    from onnx import numpy_helper  # noqa: PLC0415 -- of the extra `onnx`

    names = list(node.input[1:])
    if not all(name in constants for name in names):
        return
    weight, *bias = (torch.tensor(numpy_helper.to_array(constants[name])) for name in names)
    levels, scale = to_levels(weight)
    if not torch.equal(from_levels(levels, scale), weight):
        return
    yield _whole(graph, node, 1, levels, scale)
    if bias:
        factor = scale.double() * step
        whole = (bias[0].double() / factor).round()
        if bool((whole.abs() <= _MOST_BIAS).all()):
            yield _whole(graph, node, 2, whole.to(torch.int32), factor.float())


def _whole(
    graph: onnx.GraphProto, node: onnx.NodeProto, place: int, whole: Tensor, scale: Tensor
) -> onnx.NodeProto:
    from onnx import helper, numpy_helper  # noqa: PLC0415 -- of the extra `onnx`

    name = f"{node.output[0]}.{node.input[place]}"
    parts = {f"{name}.whole": whole, f"{name}.scale": scale}
    for part, tensor in parts.items():
        graph.initializer.append(numpy_helper.from_array(tensor.numpy(), part))
    node.input[place] = f"{name}.real"
    return helper.make_node("DequantizeLinear", list(parts), [f"{name}.real"], axis=0)
