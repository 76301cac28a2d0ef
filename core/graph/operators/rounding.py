"""Values of 8 bits: numbers rounded to the levels that whole numbers from 0 to 255 stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modpm.core.graph.attributes import integer, real
from modpm.core.graph.operators.activation import elementwise
from modpm.core.graph.operators.definition import float_of, int_of, is_recorded
from modpm.core.graph.translation import (
    Arguments,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.formats.network_graph import Node
    from modpm.core.graph.index_views import View
    from modpm.core.graph.operators.definition import Operator

LARGEST_LEVEL = 255
"""Of 8 bits, from 0."""

SMALLEST_STEP, LARGEST_STEP = 1e-30, 1e30
"""Between two levels: what divides by it and multiplies by it again is finite."""


def rounded(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """Return the nearest level of each number, by operators that every program knows."""
    levels = (x / scale).round() + zero_point
    return (levels.clamp(0, LARGEST_LEVEL) - zero_point) * scale


class Quantize(nn.Module):
    """Numbers rounded to levels of equal distance, of which one is 0.

    Attributes:
        recorded: What it does where torch records a program.

    Source:
        Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-
        only inference (CVPR 2018), equation 1; as ONNX's QuantizeLinear and DequantizeLinear.
    """

    recorded: Callable[[Tensor, float, int], Tensor] = staticmethod(rounded)

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale = scale
        self.zero_point = zero_point

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest level of each number."""
        if is_recorded():
            return self.recorded(x, self.scale, self.zero_point)
        return torch.fake_quantize_per_tensor_affine(
            x, self.scale, self.zero_point, 0, LARGEST_LEVEL
        )


def _layer(node: Node) -> nn.Module:
    return Quantize(float_of(node, "scale"), int_of(node, "zero_point"))


def _fake_quantize(t: Translator, a: Arguments) -> View:
    scale, zero_point = a["scale"], a["zero_point"]
    if isinstance(scale, Constant) or isinstance(zero_point, Constant):
        raise UntranslatableError("levels that are tensors")
    if (a["quant_min"], a["quant_max"]) != (0, LARGEST_LEVEL):
        raise UntranslatableError("levels other than 0 to 255")
    levels = {"scale": float(scale), "zero_point": int(zero_point)}
    return t.mapped(a["self"], "quantize", {**levels})


OPERATORS: dict[str, Operator] = {
    "quantize": elementwise(
        _layer,
        {
            "scale": real(minimum=SMALLEST_STEP, maximum=LARGEST_STEP),
            "zero_point": integer(minimum=0, maximum=LARGEST_LEVEL),
        },
    ),
}

ATEN: dict[str, Handler] = {"fake_quantize_per_tensor_affine": _fake_quantize}
