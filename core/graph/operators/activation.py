"""Activations, dropout and softmax."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph.attributes import FRACTION, NUMBER, Attribute, choice
from modpm.core.graph.cutting.kinds import CONSTANT, ZERO
from modpm.core.graph.cutting.rules import Channelwise, Fate, Mixing, constant, zero
from modpm.core.graph.index_views import View
from modpm.core.graph.operators.definition import (
    VECTOR_RANK,
    Operator,
    float_of,
    per_channel,
    same_shape,
    same_vector,
)
from modpm.core.graph.translation import (
    OWN_CHANCE,
    Arguments,
    Chance,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
    only,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.formats.network_graph import Node


# --- number by number -------------------------------------------------------------------------

LARGEST = 3.4028234663852886e38  # of float32: no bound at all


class Function(nn.Module):
    """A function of one value, number by number."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return what the function makes of the numbers."""
        return self.function(x)


def elementwise(
    make: Callable[[Node], nn.Module],
    attributes: Mapping[str, Attribute] | None = None,
    of_zero: Fate = zero,
) -> Operator:
    """Return an operator of one value, number by number.

    Args:
        make: Makes the layer.
        attributes: The operator's.
        of_zero: What becomes of a channel of zeros.
    """
    return Operator(
        layer=lambda node, _shapes: make(node),
        output_shape=same_shape,
        attributes=attributes or {},
        cut=Channelwise(of_zero),
    )


_PLAIN: dict[str, tuple[Callable[[], nn.Module], Fate]] = {
    "relu": (nn.ReLU, zero),
    "relu6": (nn.ReLU6, zero),
    "silu": (nn.SiLU, zero),
    "mish": (nn.Mish, zero),
    "hardswish": (nn.Hardswish, zero),
    "hardsigmoid": (nn.Hardsigmoid, constant),
    "sigmoid": (nn.Sigmoid, constant),
    "tanh": (nn.Tanh, zero),
    "softplus": (nn.Softplus, constant),
}
"""Activations without attributes: the layer, and what becomes of zero."""


def _plain(make: Callable[[], nn.Module], of_zero: Fate) -> Operator:
    return elementwise(lambda _node: make(), of_zero=of_zero)


def _read_plain(name: str) -> Handler:
    return lambda t, a: t.mapped(only(a), name)


def _leaky_relu(t: Translator, a: Arguments) -> View:
    slope = float(a["negative_slope"])
    return t.mapped(a["self"], "leaky_relu", {"negative_slope": slope})


def _elu(t: Translator, a: Arguments) -> View:
    if a.get("scale", 1) != 1 or a.get("input_scale", 1) != 1:
        raise UntranslatableError("factors other than 1")
    return t.mapped(a["self"], "elu", {"alpha": float(a["alpha"])})


def _gelu(t: Translator, a: Arguments) -> View:
    return t.mapped(a["self"], "gelu", {"approximate": a["approximate"]})


def _softplus(t: Translator, a: Arguments) -> View:
    if a["beta"] != 1 or a["threshold"] != 20:  # noqa: PLR2004 - torch's default
        raise UntranslatableError("beta other than 1, or threshold other than 20")
    return t.mapped(a["self"], "softplus")


def _clamped_zero(node: Node) -> int:
    low, high = float_of(node, "minimum"), float_of(node, "maximum")
    return ZERO if low <= 0 <= high else CONSTANT


def clamped(t: Translator, view: View, low: float | None, high: float | None) -> View:
    """Limit a value, by the operator that is made for the limits."""
    if low == 0 and high is None:
        return t.mapped(view, "relu")
    if low == 0 and high == 6:  # noqa: PLR2004 - relu6
        return t.mapped(view, "relu6")
    bounds = {
        "minimum": -LARGEST if low is None else float(low),
        "maximum": LARGEST if high is None else float(high),
    }
    return t.mapped(view, "clamp", {**bounds})


def _clamp(t: Translator, a: Arguments) -> View:
    low, high = a.get("min"), a.get("max")
    if isinstance(low, Constant | View) or isinstance(high, Constant | View):
        raise UntranslatableError("bounds that are tensors")
    return clamped(t, a["self"], low, high)


def _hardtanh(t: Translator, a: Arguments) -> View:
    return clamped(t, a["self"], a["min_val"], a["max_val"])


# --- dropout ----------------------------------------------------------------------------------


class DropoutChannels(nn.Module):
    """Whole channels dropped in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with random channels zeroed, in training."""
        return torch.feature_dropout(x, self.p, self.training)


class DropoutImages(nn.Module):
    """Whole images dropped in training, as stochastic depth drops the branch of a block.

    Source:
        Huang et al., arXiv 1603.09382; in training what is left is divided by its share.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with random images zeroed, in training."""
        if not self.training:
            return x
        ones = x.new_ones(x.shape[0], *[1] * (x.dim() - 1))
        return x * F.dropout(ones, self.p, training=True)


def _bernoulli(_t: Translator, a: Arguments) -> Chance:
    """Read what is drawn; `torch.bernoulli` is given how likely it is, one number for all."""
    like = a["self"]
    keep = a.get("p")
    if keep is None and isinstance(like, Constant):
        (keep,) = set(like.tensor.flatten().tolist())
    if not isinstance(like, Constant) or like.parameter or not isinstance(keep, float):
        raise UntranslatableError(*OWN_CHANCE)
    return Chance(tuple(like.tensor.shape), keep)


def dropped(t: Translator, view: View, chance: Chance) -> View:
    """Multiply a value by what is drawn, one number for each of the images."""
    n_images, *others = chance.shape
    if n_images == 1 or math.prod(others) > 1 or len(others) != len(view.shape):
        raise UntranslatableError(*OWN_CHANCE)
    left = t.mapped(view, "dropout_images", {"p": 1 - chance.keep})
    factor = chance.number * chance.keep
    is_one = math.isclose(factor, 1.0)
    return left if is_one else t.mapped(left, "mul_scalar", {"value": factor})


def _dropout(name: str) -> Handler:
    """Return the handler of a dropout, which is none where it is switched off in training."""
    return lambda t, a: t.mapped(only(a), name, {"p": float(a["p"])}) if a["train"] else only(a)


# --- with a parameter, or over a vector -------------------------------------------------------


def _prelu(t: Translator, a: Arguments) -> View:
    value = t.node_value(a["self"])
    weight = a["weight"]
    return t.emit("prelu", [value], {}, {"weight": one_a_channel(weight, value.shape[0])})


def one_a_channel(constant: Constant, n_channels: int) -> Constant:
    """Return a constant of one number as one for each channel."""
    if constant.tensor.numel() == n_channels:
        return constant.arranged(constant.tensor.reshape(-1))
    return constant.computed(constant.tensor.reshape(-1).expand(n_channels))


def _softmax(make: Callable[[], nn.Module]) -> Operator:
    return Operator(layer=lambda _node, _shapes: make(), output_shape=same_vector, cut=Mixing())


def _softmax_of(name: str) -> Handler:
    def softmax(t: Translator, a: Arguments) -> View:
        view = a["self"]
        dimension = a["dim"] % (len(view.shape) + 1) - 1
        if len(view.shape) == VECTOR_RANK and dimension == 0:
            return t.emit(name, [t.node_value(view)])
        if name == "softmax" and dimension >= 0 and view.shape[dimension] == _TWO:
            return _softmax_of_two(t, view, dimension)
        raise UntranslatableError("over other than the features of a vector, or two values")

    return softmax


_TWO = 2


def _softmax_of_two(t: Translator, view: View, dimension: int) -> View:
    """Express the shares of two values by the sigmoid of their difference."""
    index = view.indices().movedim(dimension, 0)
    first, second = (t.node_value(view.reindexed(half.flatten())) for half in index)
    difference = t.emit("sub", [first, second])
    negated = t.emit("mul_scalar", [difference], {"value": -1.0})
    shares = t.emit("cat", [t.emit("sigmoid", [value]) for value in (difference, negated)])
    return shares.reindexed(shares.indices().reshape(index.shape).movedim(0, dimension))


OPERATORS: dict[str, Operator] = {
    **{name: _plain(*known) for name, known in _PLAIN.items()},
    "leaky_relu": elementwise(
        lambda node: nn.LeakyReLU(float_of(node, "negative_slope")), {"negative_slope": NUMBER}
    ),
    "elu": elementwise(lambda node: nn.ELU(float_of(node, "alpha")), {"alpha": NUMBER}),
    "gelu": elementwise(
        lambda node: nn.GELU(str(node.attributes["approximate"])),
        {"approximate": choice("none", "tanh")},
    ),
    "clamp": elementwise(
        lambda node: Function(
            partial(torch.clamp, min=float_of(node, "minimum"), max=float_of(node, "maximum"))
        ),
        {"minimum": NUMBER, "maximum": NUMBER},
        _clamped_zero,
    ),
    "dropout": elementwise(lambda node: nn.Dropout(float_of(node, "p")), {"p": FRACTION}),
    "dropout_channels": elementwise(
        lambda node: DropoutChannels(float_of(node, "p")), {"p": FRACTION}
    ),
    "dropout_images": elementwise(lambda node: DropoutImages(float_of(node, "p")), {"p": FRACTION}),
    "prelu": Operator(
        layer=lambda _node, shapes: nn.PReLU(shapes[0][0], device="meta"),
        output_shape=same_shape,
        required=("weight",),
        tensor_shapes=per_channel("weight"),
        cut=Channelwise(),
    ),
    "softmax": _softmax(lambda: nn.Softmax(dim=1)),
    "log_softmax": _softmax(lambda: nn.LogSoftmax(dim=1)),
}


ATEN: dict[str, Handler] = {
    **{name: _read_plain(name) for name in _PLAIN},
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
    "bernoulli": _bernoulli,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "softmax": _softmax_of("softmax"),
    "_softmax": _softmax_of("softmax"),
    "log_softmax": _softmax_of("log_softmax"),
    "_log_softmax": _softmax_of("log_softmax"),
}
