"""What each ATen operator means in a network graph.

Source: the schemas of ATen's `native_functions.yaml`, whose argument names are used.
"""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modpm.core.graph.index_views import ZERO, View
from modpm.core.graph.translation import (
    Arguments,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.network_graph import AttributeValue
    from modpm.core.graph.operators import Shape

_LARGEST = 3.4028234663852886e38  # of float32: no bound at all
_IMAGE = 3
_VECTOR = 1


def _pair(value: int | Sequence[int]) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    return [int(value[0]), int(value[-1])]


def _refuse(why: str) -> UntranslatableError:
    return UntranslatableError(why)


def _image(t: Translator, view: View) -> View:
    value = t.node_value(view)
    if len(value.shape) != _IMAGE:
        raise _refuse(f"its input has the shape {value.shape}, not (C, H, W)")
    return value


def _constants(**roles: Constant | None) -> dict[str, Constant]:
    return {role: constant for role, constant in roles.items() if constant is not None}


def _only(a: Arguments) -> View:
    """Return the first argument, which schemas name in two ways."""
    view: View = a["self"] if "self" in a else a["input"]
    return view


# --- convolution, linear, batch normalisation -------------------------------------------------


def _conv(t: Translator, a: Arguments) -> View:
    if a.get("transposed"):
        raise _refuse("a transposed convolution")
    value, weight = _image(t, a["input"]), a["weight"]
    if not isinstance(weight, Constant) or weight.tensor.dim() != 4:  # noqa: PLR2004 - 2d
        raise _refuse("its weight is not of shape (K, C, H, W), or depends on the image")
    kernel, dilation = list(weight.tensor.shape[2:]), _pair(a["dilation"])
    padding = a["padding"]
    if isinstance(padding, str):
        value, padding = _padded_alike(t, value, padding, kernel, dilation)
    return t.emit(
        "conv2d",
        [value],
        {
            "n_kernels": weight.tensor.shape[0],
            "kernel_size": kernel,
            "stride": _pair(a["stride"]),
            "padding": _pair(padding),
            "dilation": dilation,
            "groups": a["groups"],
        },
        _constants(weight=weight, bias=a["bias"]),
    )


def _padded_alike(
    t: Translator, value: View, padding: str, kernel: list[int], dilation: list[int]
) -> tuple[View, list[int]]:
    """Return what `same` or `valid` padding is, in pixels, with a node for an uneven rest."""
    if padding == "valid":
        return value, [0, 0]
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    tall, wide = (total % 2 for total in totals)
    if tall or wide:
        value = t.emit("pad", [value], {"padding": [0, wide, 0, tall], "value": 0.0})
    return value, [total // 2 for total in totals]


def _linear(t: Translator, a: Arguments) -> View:
    weight, view = a["weight"], a["input"]
    if not isinstance(weight, Constant):
        raise _refuse("its weight depends on the image")
    tensors = _constants(weight=weight, bias=a["bias"])
    if len(view.shape) > _VECTOR:
        return _pointwise(t, view, weight, tensors)
    return t.emit("linear", [t.node_value(view)], {"n_features": len(weight.tensor)}, tensors)


def _pointwise(t: Translator, view: View, weight: Constant, tensors: dict[str, Constant]) -> View:
    """Express a linear layer on the last dimension of images as a 1 x 1 convolution."""
    tensors["weight"] = weight.arranged(weight.tensor[:, :, None, None])
    value = _channels_first(t, view)
    result = t.emit("conv2d", [value], _pointwise_attributes(len(weight.tensor)), tensors)
    return _channels_last(result, view)


def _channels_first(t: Translator, view: View) -> View:
    """Return a value whose channels come last as a node's, whose channels come first."""
    *space, n_channels = view.shape
    index = view.indices().reshape(-1, n_channels).t()
    return _image(t, view.reindexed(index.reshape(n_channels, *_space_of(view, space))))


def _channels_last(value: View, like: View) -> View:
    """Arrange a node's value as another value is, whose channels come last."""
    index = value.indices().flatten(1).t()
    return value.reindexed(index.reshape(*like.shape[:-1], value.shape[0]))


def _pointwise_attributes(n_kernels: int) -> dict[str, AttributeValue]:
    ones = {"kernel_size": [1, 1], "stride": [1, 1], "dilation": [1, 1]}
    return {"n_kernels": n_kernels, "padding": [0, 0], "groups": 1, **ones}


def _space_of(view: View, space: list[int]) -> tuple[int, ...]:
    """Return height and width of an image whose pixels may stand in one line."""
    if len(space) == 2:  # noqa: PLR2004 - height, width
        return tuple(space)
    is_image = len(view.base_shape) == _IMAGE
    same = is_image and math.prod(view.base_shape[1:]) == math.prod(space)
    return view.base_shape[1:] if same else (math.prod(space), 1)


def _addmm(t: Translator, a: Arguments) -> View:
    if a["beta"] != 1 or a["alpha"] != 1:
        raise _refuse("factors other than 1")
    return _product(t, a["mat1"], a["mat2"], a["self"])


def _mm(t: Translator, a: Arguments) -> View:
    other = a["mat2"] if "mat2" in a else a["other"]
    return _product(t, a["self"], other, None)


def _product(t: Translator, left: object, right: object, bias: Constant | None) -> View:
    if not isinstance(left, View) or not isinstance(right, Constant):
        raise _refuse("a product of two values")
    weight = right.arranged(right.tensor.t())
    return _linear(t, {"input": left, "weight": weight, "bias": bias})


def _batch_norm(t: Translator, a: Arguments) -> View:
    mean, variance, value = a["running_mean"], a["running_var"], t.node_value(a["input"])
    if mean is None or variance is None:
        raise _refuse("it normalises by the batch, also in evaluation mode")
    if not a["training"]:
        return _frozen_batch_norm(t, a, value)
    return t.emit(
        "batch_norm2d",
        [value],
        {"eps": float(a["eps"]), "momentum": float(a["momentum"])},
        _constants(weight=a["weight"], bias=a["bias"], running_mean=mean, running_var=variance),
    )


def _frozen_batch_norm(t: Translator, a: Arguments, value: View) -> View:
    """Express a normalisation by the running statistics in training too: one product and sum."""
    rate = (a["running_var"].tensor + a["eps"]).rsqrt()
    weight, bias = a["weight"] or Constant(torch.ones_like(rate)), a["bias"]
    scale = weight.computed(weight.tensor * rate)
    bias = Constant(torch.zeros_like(rate)) if bias is None else bias
    shift = bias.computed(bias.tensor - a["running_mean"].tensor * scale.tensor)
    return t.emit("channel_affine", [value], {}, {"weight": scale, "bias": shift})


def _layer_norm(t: Translator, a: Arguments) -> View:
    view = a["input"]
    if list(a["normalized_shape"]) != [view.shape[-1]]:
        raise _refuse("over more than the channels of a pixel")
    tensors = _constants(weight=a["weight"], bias=a["bias"])
    attributes: dict[str, AttributeValue] = {"eps": float(a["eps"])}
    if len(view.shape) == _VECTOR:
        return t.emit("channel_norm", [t.node_value(view)], attributes, tensors)
    value = t.emit("channel_norm", [_channels_first(t, view)], attributes, tensors)
    return _channels_last(value, view)


def _group_norm(t: Translator, a: Arguments) -> View:
    attributes: dict[str, AttributeValue] = {"n_groups": a["num_groups"], "eps": float(a["eps"])}
    tensors = _constants(weight=a["weight"], bias=a["bias"])
    return t.emit("group_norm", [_image(t, a["input"])], attributes, tensors)


# --- elementwise ------------------------------------------------------------------------------


def _mapped(
    t: Translator, view: View, name: str, attributes: dict[str, AttributeValue] | None = None
) -> View:
    """Apply an elementwise operator, before the numbers are moved if they cannot be moved yet."""
    value = t.try_node_value(view)
    if value is not None:
        return t.emit(name, [value], attributes)
    index = view.indices()
    if bool((index == ZERO).any()):
        return t.emit(name, [t.node_value(view)], attributes)
    base = t.emit(name, [View(view.base, view.base_shape)], attributes)
    return View(base.base, base.base_shape, index)


def _unary(name: str) -> Handler:
    return lambda t, a: _mapped(t, _only(a), name)


def _leaky_relu(t: Translator, a: Arguments) -> View:
    slope = float(a["negative_slope"])
    return _mapped(t, a["self"], "leaky_relu", {"negative_slope": slope})


def _elu(t: Translator, a: Arguments) -> View:
    if a.get("scale", 1) != 1 or a.get("input_scale", 1) != 1:
        raise _refuse("factors other than 1")
    return _mapped(t, a["self"], "elu", {"alpha": float(a["alpha"])})


def _gelu(t: Translator, a: Arguments) -> View:
    return _mapped(t, a["self"], "gelu", {"approximate": a["approximate"]})


def _softplus(t: Translator, a: Arguments) -> View:
    if a["beta"] != 1 or a["threshold"] != 20:  # noqa: PLR2004 - torch's default
        raise _refuse("beta other than 1, or threshold other than 20")
    return _mapped(t, a["self"], "softplus")


def _clamped(t: Translator, view: View, low: float | None, high: float | None) -> View:
    if low == 0 and high is None:
        return _mapped(t, view, "relu")
    if low == 0 and high == 6:  # noqa: PLR2004 - relu6
        return _mapped(t, view, "relu6")
    bounds = {
        "minimum": -_LARGEST if low is None else float(low),
        "maximum": _LARGEST if high is None else float(high),
    }
    return _mapped(t, view, "clamp", {**bounds})


def _clamp(t: Translator, a: Arguments) -> View:
    low, high = a.get("min"), a.get("max")
    if isinstance(low, Constant | View) or isinstance(high, Constant | View):
        raise _refuse("bounds that are tensors")
    return _clamped(t, a["self"], low, high)


def _hardtanh(t: Translator, a: Arguments) -> View:
    return _clamped(t, a["self"], a["min_val"], a["max_val"])


def _dropout(name: str) -> Handler:
    """Return the handler of a dropout, which is none where it is switched off in training."""
    return lambda t, a: _mapped(t, _only(a), name, {"p": float(a["p"])}) if a["train"] else _only(a)


def _prelu(t: Translator, a: Arguments) -> View:
    value = t.node_value(a["self"])
    weight = a["weight"]
    return t.emit("prelu", [value], {}, {"weight": _spread(weight, value.shape[0])})


def _spread(constant: Constant, n_channels: int) -> Constant:
    """Return a constant of one number as one for each channel."""
    if constant.tensor.numel() == n_channels:
        return constant.arranged(constant.tensor.reshape(-1))
    return constant.computed(constant.tensor.reshape(-1).expand(n_channels))


# --- sums and products ------------------------------------------------------------------------


def _sum(t: Translator, left: object, right: object, alpha: float) -> View:
    if isinstance(left, View) and isinstance(right, View):
        if alpha not in {1, -1}:
            right = _mapped(t, right, "mul_scalar", {"value": float(alpha)})
        return _binary(t, "sub" if alpha == -1 else "add", left, right)
    if isinstance(left, View):
        return _shifted(t, left, _times(right, alpha))
    assert isinstance(right, View)
    scaled = right if alpha == 1 else _mapped(t, right, "mul_scalar", {"value": float(alpha)})
    return _shifted(t, scaled, left)


def _times(constant: Any, factor: float) -> Any:  # noqa: ANN401 - a number or a Constant
    if isinstance(constant, Constant):
        return constant if factor == 1 else constant.computed(constant.tensor * factor)
    return constant * factor


def _shifted(t: Translator, view: View, constant: object) -> View:
    number = _number(constant)
    if number is not None:
        return _mapped(t, view, "add_scalar", {"value": number})
    if _is_zero(constant, view):
        return view
    return _affine(t, view, "bias", constant)


def _is_zero(constant: object, view: View) -> bool:
    """Whether a constant is zeros that an accumulation begins with."""
    return (
        isinstance(constant, Constant)
        and constant.name is None
        and constant.parameter is None
        and tuple(constant.tensor.shape[1:]) == view.shape
        and not bool(constant.tensor.any())
    )


def _product_of(t: Translator, left: object, right: object) -> View:
    if isinstance(left, View) and isinstance(right, View):
        return _binary(t, "mul", left, right)
    view, constant = (left, right) if isinstance(left, View) else (right, left)
    assert isinstance(view, View)
    number = _number(constant)
    if number is not None:
        return _mapped(t, view, "mul_scalar", {"value": number})
    return _affine(t, view, "weight", constant)


def _number(constant: object) -> float | None:
    """Return a constant as a number, if it is one that is not the network's parameter."""
    if isinstance(constant, Constant):
        is_plain = constant.tensor.dim() == 0 and constant.name is None is constant.parameter
        return float(constant.tensor) if is_plain else None
    return float(constant) if isinstance(constant, Number) else None  # type: ignore[arg-type]  # a Number may be complex, an image never is


def _affine(t: Translator, view: View, role: str, constant: object) -> View:
    if not isinstance(constant, Constant):
        raise _refuse(f"a {type(constant).__name__} as an operand")
    value = t.try_node_value(view) or view
    base = View(value.base, value.base_shape)
    spread = _one_a_channel(value, constant)
    shifted = t.emit("channel_affine", [base], {}, {role: spread})
    return View(shifted.base, shifted.base_shape, value.index)


def _one_a_channel(view: View, constant: Constant) -> Constant:
    """Return a constant that is broadcast to a value as one number for each of its channels."""
    index, tensor = view.indices(), constant.tensor
    if tensor.dim() > index.dim() and tensor.shape[0] == 1:
        tensor = tensor[0]
    if bool((index == ZERO).any()) or not _broadcasts(tensor.shape, index.shape):
        raise _refuse(f"a constant of shape {tuple(constant.tensor.shape)} on {view.shape}")
    channels = index // math.prod(view.base_shape[1:])
    numbers = tensor.new_zeros(view.base_shape[0])
    spread = tensor.expand(index.shape)
    numbers[channels.flatten()] = spread.flatten()
    if not torch.equal(numbers[channels], spread):
        raise _refuse(f"a constant of shape {tuple(constant.tensor.shape)}, not one a channel")
    is_whole = tensor.numel() == numbers.numel()
    return constant.arranged(numbers) if is_whole else constant.computed(numbers)


def _broadcasts(shape: Shape, wide: Shape) -> bool:
    """Whether a shape is broadcast to a wider one, which stays as it is."""
    pairs = zip(reversed(shape), reversed(wide), strict=False)
    return len(shape) <= len(wide) and all(size in {1, whole} for size, whole in pairs)


def _binary(t: Translator, name: str, left: View, right: View) -> View:
    if len(left.shape) != len(right.shape):
        raise _refuse(f"shapes {left.shape} and {right.shape} of different rank")
    values = [t.try_node_value(_unexpanded(view)) for view in (left, right)]
    if values[0] is not None and values[1] is not None:
        return t.emit(name, [values[0], values[1]])
    if left.base_shape == right.base_shape and _is_one_move(left.index, right.index):
        bases = [View(view.base, view.base_shape) for view in (left, right)]
        value = t.emit(name, bases)
        return View(value.base, value.base_shape, left.index)
    return t.emit(name, [t.node_value(_unexpanded(view)) for view in (left, right)])


def _is_one_move(left: Tensor | None, right: Tensor | None) -> bool:
    """Whether two values were moved alike, so that they may be joined before it."""
    if left is None or right is None:
        return left is right
    return torch.equal(left, right) and not bool((left == ZERO).any())


def _unexpanded(view: View) -> View:
    """Return a value that was expanded over the image as it was before."""
    if view.index is None or len(view.shape) != _IMAGE:
        return view
    first = view.index[:, :1, :1]
    same = first.numel() < view.index.numel() and bool((view.index == first).all())
    return view.reindexed(first.contiguous()) if same else view


def _add(t: Translator, a: Arguments) -> View:
    return _sum(t, a["self"], a["other"], a.get("alpha", 1))


def _sub(t: Translator, a: Arguments) -> View:
    return _sum(t, a["self"], a["other"], -a.get("alpha", 1))


def _rsub(t: Translator, a: Arguments) -> View:
    return _sum(t, a["other"], a["self"], -a.get("alpha", 1))


def _larger(t: Translator, a: Arguments) -> View:
    return _binary(t, "maximum", *_views(a))


def _smaller(t: Translator, a: Arguments) -> View:
    return _binary(t, "minimum", *_views(a))


def _views(a: Arguments) -> tuple[View, View]:
    left, right = a["self"], a["other"]
    if not isinstance(left, View) or not isinstance(right, View):
        raise _refuse("of a value and a constant tensor")
    return left, right


def _mul(t: Translator, a: Arguments) -> View:
    return _product_of(t, a["self"], a["other"])


def _div(t: Translator, a: Arguments) -> View:
    divisor = a["other"]
    if a.get("rounding_mode") is not None or isinstance(divisor, View):
        raise _refuse("a division by a value, or with rounding")
    if isinstance(divisor, Constant):
        return _product_of(t, a["self"], divisor.computed(1 / divisor.tensor))
    return _product_of(t, a["self"], 1 / divisor)


def _neg(t: Translator, a: Arguments) -> View:
    return _mapped(t, a["self"], "mul_scalar", {"value": -1.0})


def _square(t: Translator, a: Arguments) -> View:
    if a.get("exponent", 2) != 2:  # noqa: PLR2004 - the square
        raise _refuse("a power other than 2")
    return _binary(t, "mul", a["self"], a["self"])


def _cat(t: Translator, a: Arguments) -> View:
    values = a["tensors"]
    views = [value for value in values if isinstance(value, View)]
    rank = len(views[0].shape) + 1
    dimension = a["dim"] % rank
    if len({view.base for view in views}) == 1:
        moved = _cat_of_one(views[0], values, dimension)
        if moved is not None:
            return moved
    if dimension != 1 or len(views) < len(values):
        raise _refuse("it joins constants, or not along the channels")
    nodes = [t.node_value(view) for view in views]
    return t.emit("cat", nodes)


def _cat_of_one(base: View, values: Sequence[object], dimension: int) -> View | None:
    """Join views of one node and zeros: only a move of its numbers."""
    parts = []
    for value in values:
        if isinstance(value, View):
            parts.append(value.batch_indices())
        elif isinstance(value, Constant) and not bool(value.tensor.any()):
            parts.append(torch.full(value.tensor.shape, ZERO))
        else:
            return None
    return base.moved(torch.cat(parts, dimension))


# --- pooling and space ------------------------------------------------------------------------


def _max_pool(t: Translator, a: Arguments) -> View:
    kernel = _pair(a["kernel_size"])
    return t.emit(
        "max_pool2d",
        [_image(t, a["self"])],
        {
            "kernel_size": kernel,
            "stride": _pair(a["stride"]) if a["stride"] else kernel,
            "padding": _pair(a["padding"]),
            "dilation": _pair(a["dilation"]),
            "ceil_mode": bool(a["ceil_mode"]),
        },
    )


def _max_pool_with_indices(t: Translator, a: Arguments) -> list[View | None]:
    return [_max_pool(t, a), None]


def _avg_pool(t: Translator, a: Arguments) -> View:
    if a["divisor_override"] is not None:
        raise _refuse("a divisor of its own")
    value, kernel = _image(t, a["self"]), _pair(a["kernel_size"])
    padding = _pair(a["padding"])
    if kernel == [1, 1] and padding == [0, 0]:
        return _every_few(t, value, _pair(a["stride"]) if a["stride"] else kernel)
    if tuple(kernel) == value.shape[1:] and padding == [0, 0]:
        return t.emit("mean", [value], {"keepdim": True})
    return t.emit(
        "avg_pool2d",
        [value],
        {
            "kernel_size": kernel,
            "stride": _pair(a["stride"]) if a["stride"] else kernel,
            "padding": padding,
            "ceil_mode": bool(a["ceil_mode"]),
            "count_include_pad": bool(a["count_include_pad"]),
        },
    )


def _every_few(t: Translator, value: View, step: list[int]) -> View:
    """Express a pool of single pixels as the pixels that it takes."""
    size = [-(-pixels // by) for pixels, by in zip(value.shape[1:], step, strict=True)]
    return t.emit("subsample", [value], {"start": [0, 0], "step": step, "size": size})


def _adaptive_avg(t: Translator, a: Arguments) -> View:
    value, size = _image(t, a["self"]), _pair(a["output_size"])
    if size == [1, 1]:
        return t.emit("mean", [value], {"keepdim": True})
    return _adapted(t, value, size, "avg")


def _adaptive_max(t: Translator, a: Arguments) -> list[View | None]:
    return [_adapted(t, _image(t, a["self"]), _pair(a["output_size"]), "max"), None]


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


def _mean(t: Translator, a: Arguments) -> View:
    return _reduced(t, a, "mean")


def _sum_over(t: Translator, a: Arguments) -> View:
    mean = _reduced(t, a, "mean")
    count = math.prod(a["self"].shape) / math.prod(mean.shape)
    return _mapped(t, mean, "mul_scalar", {"value": count})


def _amax(t: Translator, a: Arguments) -> View:
    return _reduced(t, a, "max")


def _max(t: Translator, a: Arguments) -> View | list[View | None]:
    if "other" in a:
        return _larger(t, a)
    if "dim" not in a:
        raise _refuse("a largest number of all images")
    return [_reduced(t, {**a, "dim": [a["dim"]]}, "max"), None]


def _min(t: Translator, a: Arguments) -> View:
    if "other" not in a:
        raise _refuse("a smallest number, other than of two values")
    return _smaller(t, a)


def _reduced(t: Translator, a: Arguments, how: str) -> View:
    """Reduce each image over some of its dimensions."""
    view, rank = a["self"], len(a["self"].shape) + 1
    dimensions = sorted({d % rank for d in (a["dim"] or range(rank))})
    if dimensions[0] == 0:
        raise _refuse("over the images of a batch")
    reduced = [d - 1 for d in dimensions]
    if how == "mean" and dimensions == [2, 3] and rank == _IMAGE + 1 and a["keepdim"]:
        return t.emit("mean", [_image(t, view)], {"keepdim": True})
    kept = [d for d in range(rank - 1) if d not in reduced]
    pooled = _partly_pooled(t, view, reduced, how) or _pooled(t, view, kept, reduced, how)
    shape = [1 if d in reduced else view.shape[d] for d in range(rank - 1)]
    if not a["keepdim"]:
        shape = [view.shape[d] for d in kept]
    return pooled.reindexed(pooled.indices().reshape(shape))


def _partly_pooled(t: Translator, view: View, reduced: list[int], how: str) -> View | None:
    """Reduce an image over its rows alone, or its columns alone, where it is one."""
    if len(view.shape) != _IMAGE or reduced not in ([1], [2]):
        return None
    channels, height, width = view.shape
    del channels
    size = [1, width] if reduced == [1] else [height, 1]
    return _adapted(t, _image(t, view), size, "avg" if how == "mean" else "max")


def _pooled(t: Translator, view: View, kept: list[int], reduced: list[int], how: str) -> View:
    """Reduce the whole image, whatever dimensions its channels and pixels are in."""
    index = view.indices().permute(*kept, *reduced)
    space = _space_of(view, [index.shape[len(kept) + i] for i in range(len(reduced))])
    value = _image(t, view.reindexed(index.reshape(-1, *space)))
    if how == "mean":
        return t.emit("mean", [value], {"keepdim": False})
    return _adapted(t, value, [1, 1], "max")


def _pad(t: Translator, a: Arguments) -> View:
    if a.get("mode", "constant") != "constant":
        raise _refuse(f"padding of the mode {a['mode']}")
    amounts, value = list(a["pad"]), float(a.get("value") or 0.0)
    view = a["self"]
    if value == 0:
        batch = torch.nn.functional.pad(view.batch_indices(), amounts, value=ZERO)
        return _view_of(view, batch)
    amounts += [0] * (4 - len(amounts))
    if len(amounts) > 4 or min(amounts) < 0:  # noqa: PLR2004 - two sides of two dimensions
        raise _refuse("padding with a number other than 0, of other than pixels")
    value = min(max(value, -_LARGEST), _LARGEST)  # what pads a maximum may be infinite
    return t.emit("pad", [_image(t, view)], {"padding": amounts, "value": value})


# --- moving numbers ---------------------------------------------------------------------------


def _moved(t: Translator, a: Arguments) -> object:
    """Run an operator that only moves numbers on their indices."""
    view = next(value for value in a.values() if isinstance(value, View))
    results = t.target(**{name: _as_indices(value) for name, value in a.items()})
    if isinstance(results, Tensor):
        return _view_of(view, results)
    return [_view_of(view, result) for result in results]


def _view_of(view: View, batch: Tensor) -> View:
    moved = view.moved(batch)
    if moved is None:
        raise _refuse("it mixes the images of a batch")
    return moved


def _as_indices(value: object) -> object:
    if isinstance(value, View):
        return value.batch_indices()
    if isinstance(value, list):
        return [_as_indices(entry) for entry in value]
    return value.tensor if isinstance(value, Constant) else value


def _alias(_t: Translator, a: Arguments) -> View:
    view = _only(a)
    if a.get("dtype") not in {None, torch.float32, torch.float64}:
        raise _refuse(f"a change to {a['dtype']}")
    return view


def _clone(_t: Translator, a: Arguments) -> View:
    view: View = a["self"]
    return replace(view)  # what is changed in place afterwards is this one alone


def _detach(_t: Translator, _a: Arguments) -> View:
    raise _refuse("it keeps gradients from what is before it")


def _zeros_like(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.zeros((2, *a["self"].shape)))


def _new_zeros(_t: Translator, a: Arguments) -> Constant:
    return Constant(torch.zeros(a["size"]))


def _softmax(name: str) -> Handler:
    def softmax(t: Translator, a: Arguments) -> View:
        value = t.node_value(a["self"])
        if len(value.shape) != _VECTOR or a["dim"] not in {1, -1}:
            raise _refuse("over other than the features of a vector")
        return t.emit(name, [value])

    return softmax


MOVES = (
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "permute",
    "transpose", "t", "slice", "select", "chunk", "split", "split_with_sizes", "unsafe_chunk",
    "unsafe_split", "unbind", "narrow", "expand", "index_select", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "movedim", "swapaxes",
    "swapdims", "moveaxis", "roll", "flip", "repeat", "view_as", "expand_as", "reshape_as",
    "tensor_split", "index", "repeat_interleave", "numpy_T", "mT", "tile",
)  # fmt: skip

ALIASES = ("contiguous", "alias", "to", "_to_copy", "lift_fresh_copy", "type_as")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(MOVES, _moved),
    **dict.fromkeys(ALIASES, _alias),
    "clone": _clone,
    "detach": _detach,
    **{
        name: _unary(name)
        for name in ("relu", "relu6", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh")
    },
    "conv2d": _conv,
    "convolution": _conv,
    "linear": _linear,
    "addmm": _addmm,
    "mm": _mm,
    "matmul": _mm,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": _hardtanh,
    "dropout": _dropout("dropout"),
    "feature_dropout": _dropout("dropout_channels"),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _mul,
    "multiply": _mul,
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "neg": _neg,
    "square": _square,
    "pow": _square,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool_with_indices,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg,
    "_adaptive_avg_pool2d": _adaptive_avg,
    "adaptive_max_pool2d": _adaptive_max,
    "mean": _mean,
    "amax": _amax,
    "max": _max,
    "maximum": _larger,
    "min": _min,
    "minimum": _smaller,
    "sum": _sum_over,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "zeros_like": _zeros_like,
    "new_zeros": _new_zeros,
    "softmax": _softmax("softmax"),
    "_softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"),
    "_log_softmax": _softmax("log_softmax"),
}
