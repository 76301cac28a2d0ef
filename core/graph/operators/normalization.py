"""Normalizations by the batch, by groups of channels and by all channels of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph.attributes import FRACTION, POSITIVE, real
from modpm.core.graph.cutting.rules import Channelwise, Mixing, constant
from modpm.core.graph.operators.convolution import channels_first, channels_last
from modpm.core.graph.operators.definition import (
    VECTOR_RANK,
    Affine,
    Operator,
    Shape,
    ShapeError,
    Shapes,
    float_of,
    image_shape,
    int_of,
    per_channel,
    same_shape,
)
from modpm.core.graph.translation import (
    Arguments,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
    given,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from modpm.core.formats.network_graph import AttributeValue, Node
    from modpm.core.graph.index_views import View


# --- by the batch -----------------------------------------------------------------------------


class UncountedBatchNorm(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - torch names no base of the two
    """A batch normalization without its batch counter, which a fixed momentum never reads.

    Attributes:
        n_trainings: How often it was put to training, where it changes its running statistics
            without torch counting that as a change of a tensor.
    """

    def __init__(
        self, n_channels: int, *, eps: float, momentum: float, has_weight: bool, has_bias: bool
    ) -> None:
        super().__init__(n_channels, eps=eps, momentum=momentum, device="meta")
        self.num_batches_tracked = None
        self.n_trainings = 0
        if not has_weight:
            self.register_parameter("weight", None)
        if not has_bias:
            self.register_parameter("bias", None)

    def train(self, mode: bool = True) -> Self:
        """Put the layer to training, or to evaluation."""
        self.n_trainings += mode
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any) -> None:  # noqa: ANN401 - passed through as given
        """Load without adding the counter that torch misses in a dictionary of tensors."""
        nn.Module._load_from_state_dict(self, *args)  # noqa: SLF001 - see above


class UncountedBatchNorm1d(UncountedBatchNorm, nn.BatchNorm1d):
    """Batch normalization of vectors."""


class UncountedBatchNorm2d(UncountedBatchNorm, nn.BatchNorm2d):
    """Batch normalization of images."""


def _batch_norm_layer(node: Node, shapes: Shapes) -> nn.Module:
    is_image = len(shapes[0]) == 3  # noqa: PLR2004 - channels, height, width
    make = UncountedBatchNorm2d if is_image else UncountedBatchNorm1d
    return make(
        shapes[0][0],
        eps=float_of(node, "eps"),
        momentum=float_of(node, "momentum"),
        has_weight="weight" in node.tensors,
        has_bias="bias" in node.tensors,
    )


def _batch_norm(t: Translator, a: Arguments) -> View:
    mean, variance, value = a["running_mean"], a["running_var"], t.node_value(a["input"])
    if mean is None or variance is None:
        raise UntranslatableError("it normalizes by the batch, also in evaluation mode")
    if not a["training"]:
        return _frozen_batch_norm(t, a, value)
    return t.emit(
        "batch_norm2d",
        [value],
        {"eps": float(a["eps"]), "momentum": float(a["momentum"])},
        given(weight=a["weight"], bias=a["bias"], running_mean=mean, running_var=variance),
    )


def _frozen_batch_norm(t: Translator, a: Arguments, value: View) -> View:
    """Express a normalization by the running statistics in training too: one product and sum."""
    rate = (a["running_var"].tensor + a["eps"]).rsqrt()
    weight, bias = a["weight"] or Constant(torch.ones_like(rate)), a["bias"]
    scale = weight.computed(weight.tensor * rate)
    bias = Constant(torch.zeros_like(rate)) if bias is None else bias
    shift = bias.computed(bias.tensor - a["running_mean"].tensor * scale.tensor)
    return t.emit("channel_affine", [value], {}, {"weight": scale, "bias": shift})


# --- by groups of channels --------------------------------------------------------------------


class GroupNorm(Affine):
    """Each group of channels of an image brought to mean 0 and variance 1."""

    def __init__(
        self, n_channels: int, roles: Collection[str], *, n_groups: int, eps: float
    ) -> None:
        super().__init__(n_channels, roles)
        self.n_groups, self.eps = n_groups, eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized groups."""
        return F.group_norm(x, self.n_groups, self.weight, self.bias, self.eps)


def _group_norm_shape(node: Node, shapes: Shapes) -> Shape:
    channels, n_groups = image_shape(shapes)[0], int_of(node, "n_groups")
    if channels % n_groups:
        raise ShapeError(f"{n_groups} groups do not divide {channels} channels")
    return shapes[0]


def _group_norm(t: Translator, a: Arguments) -> View:
    attributes: dict[str, AttributeValue] = {"n_groups": a["num_groups"], "eps": float(a["eps"])}
    tensors = given(weight=a["weight"], bias=a["bias"])
    return t.emit("group_norm", [t.image(a["input"])], attributes, tensors)


# --- by all channels of a pixel ---------------------------------------------------------------


class ChannelNorm(Affine):
    """Each pixel's channels brought to mean 0 and variance 1."""

    def __init__(self, n_channels: int, roles: Collection[str], *, eps: float) -> None:
        super().__init__(n_channels, roles)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized channels."""
        channels_last = x.movedim(1, -1)
        shape = channels_last.shape[-1:]
        normal = F.layer_norm(channels_last, shape, self.weight, self.bias, self.eps)
        return normal.movedim(-1, 1)


def _layer_norm(t: Translator, a: Arguments) -> View:
    view = a["input"]
    if list(a["normalized_shape"]) != [view.shape[-1]]:
        raise UntranslatableError("over more than the channels of a pixel")
    tensors = given(weight=a["weight"], bias=a["bias"])
    attributes: dict[str, AttributeValue] = {"eps": float(a["eps"])}
    if len(view.shape) == VECTOR_RANK:
        return t.emit("channel_norm", [t.node_value(view)], attributes, tensors)
    value = t.emit("channel_norm", [channels_first(t, view)], attributes, tensors)
    return channels_last(value, view)


OPERATORS: dict[str, Operator] = {
    "batch_norm2d": Operator(
        cut=Channelwise(of_zero=constant),
        layer=_batch_norm_layer,
        output_shape=same_shape,
        attributes={"eps": real(minimum=0.0), "momentum": FRACTION},
        required=("running_mean", "running_var"),
        optional=("weight", "bias"),
        tensor_shapes=per_channel("weight", "bias", "running_mean", "running_var"),
    ),
    "group_norm": Operator(
        cut=Mixing(),
        layer=lambda node, shapes: GroupNorm(
            shapes[0][0],
            node.tensors,
            n_groups=int_of(node, "n_groups"),
            eps=float_of(node, "eps"),
        ),
        output_shape=_group_norm_shape,
        attributes={"n_groups": POSITIVE, "eps": real(minimum=0.0)},
        optional=("weight", "bias"),
        tensor_shapes=per_channel("weight", "bias"),
    ),
    "channel_norm": Operator(
        cut=Mixing(),
        layer=lambda node, shapes: ChannelNorm(
            shapes[0][0], node.tensors, eps=float_of(node, "eps")
        ),
        output_shape=same_shape,
        attributes={"eps": real(minimum=0.0)},
        optional=("weight", "bias"),
        tensor_shapes=per_channel("weight", "bias"),
    ),
}


ATEN: dict[str, Handler] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
}
