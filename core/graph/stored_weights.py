"""Weights of 8 bits: how they are written, and the numbers that they stand for.

In a graph, and wherever it is run, cut or composed, a weight is an ordinary tensor. One that reads
what a `quantize` node gives may be whole numbers times a factor for each kernel, and is then stored
as these (clause T-11). Both ways are exact: a factor has so few digits that its products have no
more than a float has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph

LARGEST_WEIGHT = 63
"""Of the whole numbers: 7 bits.

Processors without instructions for 8 bits add two products of an unsigned and a signed byte in 16
bits, where 2 * 255 * 127 is too much and 2 * 255 * 63 is not.
"""

SCALE_BITS = 16
"""Digits of a factor; with the 6 of a whole number they fit in the 24 of a float."""

_WEIGHTED = frozenset({"conv2d", "linear"})


def rounded_scale(scale: Tensor) -> Tensor:
    """Return factors of few digits, in single precision, none of which is below what is given."""
    mantissa, exponent = torch.frexp(scale.double())
    digits = (mantissa * 2**SCALE_BITS).ceil() / 2**SCALE_BITS
    return torch.ldexp(digits, exponent).float()


def scale_name(name: str) -> str:
    """Return what the factors of a stored weight are called."""
    return f"{name}.scale"


def quantized_weights(graph: Graph) -> Iterator[str]:
    """Give the names of the weights that read what a `quantize` node gives."""
    rounded = {node.name for node in graph.nodes if node.operator == "quantize"}
    for node in graph.nodes:
        if node.operator in _WEIGHTED and node.inputs[0] in rounded:
            yield node.tensors["weight"]


def to_levels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the whole numbers nearest to a weight, and the factor of each kernel.

    Shapes:
        weight: (K, ...) → int8 (K, ...), float32 (K,)
    """
    rows = weight.detach().float().flatten(1)
    scale = rounded_scale(rows.abs().amax(1) / LARGEST_WEIGHT)
    scale = torch.where(scale > 0, scale, 1.0)  # a kernel of zeros has any
    levels = (rows / scale[:, None]).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return levels.to(torch.int8).view(weight.shape), scale


def from_levels(levels: Tensor, scale: Tensor) -> Tensor:
    """Return the numbers that whole numbers stand for; as `to_levels` gives them."""
    return levels.float() * scale.view(-1, *(1,) * (levels.dim() - 1))


def stored(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a network as they are written (clause T-11)."""
    written = dict(tensors)
    for name in set(quantized_weights(graph)):
        if tensors[name].dtype == torch.float32:
            levels, scale = to_levels(tensors[name])
            if torch.equal(from_levels(levels, scale), tensors[name].cpu()):
                written |= {name: levels, scale_name(name): scale}
    return written


def restored(written: Mapping[str, Tensor], where: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a network as it computes with them.

    Args:
        written: As `stored` gives them, or a stranger does.
        where: The file, for errors.

    Raises:
        ModpmError: A factor is absent, no number above 0, or does not fit (`invalid-tensors`).
    """
    levels = {name for name, tensor in written.items() if tensor.dtype == torch.int8}
    scales = {scale_name(name): name for name in levels}
    plain = {name: tensor for name, tensor in written.items() if name not in scales}
    for scale, name in scales.items():
        if (why := _complaint(written[name], written.get(scale))) is not None:
            what, why = "the tensor file is not valid", f"{scale}: {why}"
            raise ModpmError(what, code="invalid-tensors", where=where, why=why)
        plain[name] = from_levels(written[name], written[scale])
    return plain


def _complaint(levels: Tensor, scale: Tensor | None) -> str | None:
    if scale is None:
        return "there is none, of a weight of 8 bits"
    if scale.dtype != torch.float32 or levels.dim() == 0 or scale.shape != levels.shape[:1]:
        return f"{tuple(scale.shape)} of {scale.dtype} for a weight of {tuple(levels.shape)}"
    if not bool(((scale > 0) & (scale * 2**7).isfinite()).all()):
        return "a factor is no number above 0, or too large"
    return None
