"""Pools of windows, and of the whole image."""

from __future__ import annotations

import math
from functools import partial, reduce
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph.attributes import NATURAL_PAIR, PAIR, Attribute, flag
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING
from modpm.core.graph.cutting.rules import Pooling
from modpm.core.graph.operators.arithmetic import joined, larger
from modpm.core.graph.operators.convolution import space_of
from modpm.core.graph.operators.definition import (
    IMAGE_RANK,
    Operator,
    Shape,
    ShapeError,
    Shapes,
    flag_of,
    image_shape,
    ints_of,
    is_recorded,
    pair_of,
    window,
)
from modpm.core.graph.translation import Arguments, Handler, Translator, UntranslatableError, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.formats.network_graph import AttributeValue, Node
    from modpm.core.graph.index_views import View


# --- windows of one size ----------------------------------------------------------------------

_POOL_ATTRIBUTES: dict[str, Attribute] = {
    "kernel_size": PAIR,
    "stride": PAIR,
    "padding": NATURAL_PAIR,
    "ceil_mode": flag(),
}


def _pool_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool
) -> int:
    if padding * 2 > kernel:
        raise ShapeError(f"padding {padding} is more than half of the window {kernel}")
    floored = window(size, kernel, stride, padding, dilation)
    if not ceil:
        return floored
    reach = dilation * (kernel - 1) + 1
    rounded = -(-(size + 2 * padding - reach) // stride) + 1
    return rounded - 1 if (rounded - 1) * stride >= size + padding else rounded


def _pool_shape(node: Node, shapes: Shapes) -> Shape:
    channels, height, width = image_shape(shapes)
    dilation = pair_of(node, "dilation") if "dilation" in node.attributes else (1, 1)
    terms = [pair_of(node, name) for name in ("kernel_size", "stride", "padding")]
    tall, wide = zip(*terms, dilation, strict=True)
    ceil = flag_of(node, "ceil_mode")
    return channels, _pool_size(height, *tall, ceil=ceil), _pool_size(width, *wide, ceil=ceil)


_MANY = 2**16  # numbers; of fewer, three steps take longer than one


class MaxPool2d(nn.MaxPool2d):
    """The largest number in each window."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the largest numbers."""
        if self._is_halving() and _is_plain(input):
            return _halved(input)
        largest: Tensor = super().forward(input)
        return largest

    def _is_halving(self) -> bool:
        sizes = self.kernel_size, self.stride, self.padding, self.dilation
        return sizes == ((2, 2), (2, 2), (0, 0), (1, 1))


def _is_plain(x: Tensor) -> bool:
    """Whether these are many numbers without gradients in a processor's memory, channels last."""
    if x.requires_grad or x.device.type != "cpu" or x.numel() < _MANY or is_recorded():
        return False
    is_even = not (x.shape[2] % 2 or x.shape[3] % 2)
    return is_even and x.is_contiguous(memory_format=torch.channels_last)


def _halved(x: Tensor) -> Tensor:
    """Return the largest of each two by two: torch's pool notes the place of each as well."""
    n, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(-1, 2, width * channels)
    pairs = torch.maximum(rows[:, 0], rows[:, 1]).view(-1, 2, channels)
    largest = torch.maximum(pairs[:, 0], pairs[:, 1])
    return largest.view(n, height // 2, width // 2, channels).permute(0, 3, 1, 2)


def _max_pool_layer(node: Node, _shapes: Shapes) -> nn.Module:
    return MaxPool2d(
        pair_of(node, "kernel_size"),
        pair_of(node, "stride"),
        pair_of(node, "padding"),
        pair_of(node, "dilation"),
        ceil_mode=flag_of(node, "ceil_mode"),
    )


def _max_pool(t: Translator, a: Arguments) -> View:
    kernel = pair(a["kernel_size"])
    return t.emit(
        "max_pool2d",
        [t.image(a["self"])],
        {
            "kernel_size": kernel,
            "stride": pair(a["stride"]) if a["stride"] else kernel,
            "padding": pair(a["padding"]),
            "dilation": pair(a["dilation"]),
            "ceil_mode": bool(a["ceil_mode"]),
        },
    )


def _max_pool_with_indices(t: Translator, a: Arguments) -> list[View | None]:
    return [_max_pool(t, a), None]


def _avg_pool_layer(node: Node, _shapes: Shapes) -> nn.Module:
    return nn.AvgPool2d(
        pair_of(node, "kernel_size"),
        pair_of(node, "stride"),
        pair_of(node, "padding"),
        ceil_mode=flag_of(node, "ceil_mode"),
        count_include_pad=flag_of(node, "count_include_pad"),
    )


def _averaged_constant(node: Node) -> int:
    """Say what an average makes of a constant: at an edge it counts zeros too, perhaps."""
    counts_zeros = bool(node.attributes["count_include_pad"])
    return VARYING if counts_zeros and any(ints_of(node, "padding")) else CONSTANT


def _avg_pool(t: Translator, a: Arguments) -> View:
    if a["divisor_override"] is not None:
        raise UntranslatableError("a divisor of its own")
    value, kernel = t.image(a["self"]), pair(a["kernel_size"])
    padding = pair(a["padding"])
    if kernel == [1, 1] and padding == [0, 0]:
        return _every_few(t, value, pair(a["stride"]) if a["stride"] else kernel)
    if tuple(kernel) == value.shape[1:] and padding == [0, 0]:
        return t.emit("mean", [value], {"keepdim": True})
    return t.emit(
        "avg_pool2d",
        [value],
        {
            "kernel_size": kernel,
            "stride": pair(a["stride"]) if a["stride"] else kernel,
            "padding": padding,
            "ceil_mode": bool(a["ceil_mode"]),
            "count_include_pad": bool(a["count_include_pad"]),
        },
    )


def _every_few(t: Translator, value: View, step: list[int]) -> View:
    """Express a pool of single pixels as the pixels that it takes."""
    size = [-(-pixels // by) for pixels, by in zip(value.shape[1:], step, strict=True)]
    return t.emit("subsample", [value], {"start": [0, 0], "step": step, "size": size})


# --- windows that fill a size -----------------------------------------------------------------


class AdaptiveMaxPool2d(nn.Module):
    """The largest number in each of so many windows, which may overlap."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest numbers."""
        if not torch.onnx.is_in_onnx_export():
            return F.adaptive_max_pool2d(x, self.size)
        # ONNX has no such pool: each row of windows by itself, and then each column.
        for dimension, count in zip((2, 3), self.size, strict=True):
            size = x.shape[dimension]
            bounds = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
            parts = [x.narrow(dimension, start, end - start) for start, end in bounds]
            x = torch.cat([part.amax(dimension, keepdim=True) for part in parts], dimension)
        return x


def _adaptive(make: Callable[[tuple[int, int]], nn.Module]) -> Operator:
    return Operator(
        layer=lambda node, _shapes: make(pair_of(node, "output_size")),
        output_shape=lambda node, shapes: (image_shape(shapes)[0], *pair_of(node, "output_size")),
        attributes={"output_size": PAIR},
        cut=Pooling(),
    )


def _adaptive_avg(t: Translator, a: Arguments) -> View:
    value, size = t.image(a["self"]), pair(a["output_size"])
    if size == [1, 1]:
        return t.emit("mean", [value], {"keepdim": True})
    return _adapted(t, value, size, "avg")


def _adaptive_max(t: Translator, a: Arguments) -> list[View | None]:
    return [_adapted(t, t.image(a["self"]), pair(a["output_size"]), "max"), None]


def _adapted(t: Translator, value: View, size: list[int], how: str) -> View:
    """Pool to a size: by ordinary windows where it divides the image, which all tools know."""
    pixels = value.shape[1:]
    if tuple(size) == pixels:
        return value
    if any(whole % part for whole, part in zip(pixels, size, strict=True)):
        return t.emit(f"adaptive_{how}_pool2d", [value], {"output_size": size})
    window = [whole // part for whole, part in zip(pixels, size, strict=True)]
    attributes: dict[str, AttributeValue] = {"kernel_size": window, "stride": window}
    attributes |= {"padding": [0, 0], "ceil_mode": False}
    attributes |= {"dilation": [1, 1]} if how == "max" else {"count_include_pad": True}
    return t.emit(f"{how}_pool2d", [value], attributes)


_MOST_PARTS = 16
"""Values that are reduced one after another: each is a node."""

# --- the whole image --------------------------------------------------------------------------


class Mean(nn.Module):
    """The mean over height and width."""

    def __init__(self, *, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Return one mean for each channel."""
        if not x.requires_grad or is_recorded():
            return x.mean((2, 3), keepdim=self.keepdim)
        # The gradient of torch's mean is a dense tensor in the default memory format; added to
        # that of a convolution in channels-last format, it makes each operator before it take a
        # slow path. That of a sum is not written out.
        return x.sum((2, 3), keepdim=self.keepdim) / (x.shape[2] * x.shape[3])


def _mean_shape(node: Node, shapes: Shapes) -> Shape:
    channels = image_shape(shapes)[0]
    return (channels, 1, 1) if flag_of(node, "keepdim") else (channels,)


def _mean(t: Translator, a: Arguments) -> View:
    return _reduced(t, a, "mean")


def _sum_over(t: Translator, a: Arguments) -> View:
    if _is_over_parts(a):
        return _reduced(t, a, "sum")
    mean = _reduced(t, a, "mean")
    count = math.prod(a["self"].shape) / math.prod(mean.shape)
    return t.mapped(mean, "mul_scalar", {"value": count})


def _amax(t: Translator, a: Arguments) -> View:
    return _reduced(t, a, "max")


def _max(t: Translator, a: Arguments) -> View | list[View | None]:
    if "other" in a:
        return larger(t, a)
    if "dim" not in a:
        raise UntranslatableError("a largest number of all images")
    return [_reduced(t, {**a, "dim": [a["dim"]]}, "max"), None]


def _reduced(t: Translator, a: Arguments, how: str) -> View:
    """Reduce each image over some of its dimensions."""
    view, rank = a["self"], len(a["self"].shape) + 1
    dimensions = sorted({d % rank for d in (a["dim"] or range(rank))})
    if dimensions[0] == 0:
        raise UntranslatableError("over the images of a batch")
    reduced = [d - 1 for d in dimensions]
    if how == "mean" and dimensions == [2, 3] and rank == IMAGE_RANK + 1 and a["keepdim"]:
        return t.emit("mean", [t.image(view)], {"keepdim": True})
    kept = [d for d in range(rank - 1) if d not in reduced]
    if _is_over_parts(a):
        found = _over_parts(t, view, how)
        return found.reindexed(found.indices().unsqueeze(0)) if a["keepdim"] else found
    pooled = _partly_pooled(t, view, reduced, how) or _pooled(t, view, kept, reduced, how)
    shape = [1 if d in reduced else view.shape[d] for d in range(rank - 1)]
    if not a["keepdim"]:
        shape = [view.shape[d] for d in kept]
    return pooled.reindexed(pooled.indices().reshape(shape))


def _is_over_parts(a: Arguments) -> bool:
    """Whether a call reduces what stands before the channels of images."""
    rank = len(a["self"].shape) + 1
    return rank > IMAGE_RANK + 1 and [d % rank for d in a["dim"] or ()] == [1]


def _over_parts(t: Translator, view: View, how: str) -> View:
    """Reduce over a few values that stand one after another."""
    index = view.indices()
    if len(index) > _MOST_PARTS:
        raise UntranslatableError(f"over {len(index)} values")
    parts = [view.reindexed(part) for part in index]
    name = "maximum" if how == "max" else "add"
    total = reduce(partial(joined, t, name), parts)
    return t.mapped(total, "mul_scalar", {"value": 1 / len(parts)}) if how == "mean" else total


def _partly_pooled(t: Translator, view: View, reduced: list[int], how: str) -> View | None:
    """Reduce an image over its rows alone, or its columns alone, where it is one."""
    if len(view.shape) != IMAGE_RANK or reduced not in ([1], [2]):
        return None
    channels, height, width = view.shape
    del channels
    size = [1, width] if reduced == [1] else [height, 1]
    return _adapted(t, t.image(view), size, "avg" if how == "mean" else "max")


def _pooled(t: Translator, view: View, kept: list[int], reduced: list[int], how: str) -> View:
    """Reduce the whole image, whatever dimensions its channels and pixels are in."""
    index = view.indices().permute(*kept, *reduced)
    space = space_of(view, [index.shape[len(kept) + i] for i in range(len(reduced))])
    value = t.image(view.reindexed(index.reshape(-1, *space)))
    if how == "mean":
        return t.emit("mean", [value], {"keepdim": False})
    return _adapted(t, value, [1, 1], "max")


OPERATORS: dict[str, Operator] = {
    "max_pool2d": Operator(
        layer=_max_pool_layer,
        output_shape=_pool_shape,
        attributes={**_POOL_ATTRIBUTES, "dilation": PAIR},
        cut=Pooling(),
    ),
    "avg_pool2d": Operator(
        layer=_avg_pool_layer,
        output_shape=_pool_shape,
        attributes={**_POOL_ATTRIBUTES, "count_include_pad": flag()},
        cut=Pooling(of_constant=_averaged_constant),
    ),
    "adaptive_avg_pool2d": _adaptive(nn.AdaptiveAvgPool2d),
    "adaptive_max_pool2d": _adaptive(AdaptiveMaxPool2d),
    "mean": Operator(
        layer=lambda node, _shapes: Mean(keepdim=flag_of(node, "keepdim")),
        output_shape=_mean_shape,
        attributes={"keepdim": flag()},
        cut=Pooling(),
    ),
}


ATEN: dict[str, Handler] = {
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool_with_indices,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg,
    "_adaptive_avg_pool2d": _adaptive_avg,
    "adaptive_max_pool2d": _adaptive_max,
    "mean": _mean,
    "amax": _amax,
    "max": _max,
    "sum": _sum_over,
}
