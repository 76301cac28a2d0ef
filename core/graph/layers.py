"""The layers that torch lacks: each an `nn.Module` with a fixed number of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_IMAGE_RANK = 3  # channels, height, width


def _meta(size: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(size, device="meta"))


def _meta_buffer(size: int) -> Tensor:
    return torch.empty(size, device="meta")


class OffsetConv2d(nn.Conv2d):
    """A convolution that adds a constant to each kernel's output, apart from its bias."""

    offset: Tensor

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed through as given
        self.register_buffer("offset", _meta_buffer(self.out_channels))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the convolution plus the offset."""
        bias = self.offset if self.bias is None else self.bias + self.offset
        convolved: Tensor = self._conv_forward(input, self.weight, bias)
        return convolved


class OffsetLinear(nn.Linear):
    """A linear layer that adds a constant to each feature, apart from its bias."""

    offset: Tensor

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed through as given
        self.register_buffer("offset", _meta_buffer(self.out_features))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the product plus the offset."""
        bias = self.offset if self.bias is None else self.bias + self.offset
        return F.linear(input, self.weight, bias)


class _Uncounted(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - torch names no base of the two
    """A batch normalisation without its batch counter, which a fixed momentum never reads."""

    def __init__(
        self, n_channels: int, *, eps: float, momentum: float, has_weight: bool, has_bias: bool
    ) -> None:
        super().__init__(n_channels, eps=eps, momentum=momentum, device="meta")
        self.num_batches_tracked = None
        if not has_weight:
            self.register_parameter("weight", None)
        if not has_bias:
            self.register_parameter("bias", None)

    def _load_from_state_dict(self, *args: Any) -> None:  # noqa: ANN401 - passed through as given
        """Load without adding the counter that torch misses in a dictionary of tensors."""
        nn.Module._load_from_state_dict(self, *args)  # noqa: SLF001 - see above


class UncountedBatchNorm1d(_Uncounted, nn.BatchNorm1d):
    """Batch normalisation of vectors."""


class UncountedBatchNorm2d(_Uncounted, nn.BatchNorm2d):
    """Batch normalisation of images."""


class ChannelNorm(nn.Module):
    """Each pixel's channels brought to mean 0 and variance 1."""

    def __init__(self, n_channels: int, *, eps: float, roles: Collection[str]) -> None:
        super().__init__()
        self.eps = eps
        self.weight = _meta(n_channels) if "weight" in roles else None
        self.bias = _meta(n_channels) if "bias" in roles else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised channels."""
        channels_last = x.movedim(1, -1)
        shape = channels_last.shape[-1:]
        normal = F.layer_norm(channels_last, shape, self.weight, self.bias, self.eps)
        return normal.movedim(-1, 1)


class GroupNorm(nn.Module):
    """Each group of channels of an image brought to mean 0 and variance 1."""

    def __init__(
        self, n_groups: int, n_channels: int, *, eps: float, roles: Collection[str]
    ) -> None:
        super().__init__()
        self.n_groups, self.eps = n_groups, eps
        self.weight = _meta(n_channels) if "weight" in roles else None
        self.bias = _meta(n_channels) if "bias" in roles else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised groups."""
        return F.group_norm(x, self.n_groups, self.weight, self.bias, self.eps)


class Clamp(nn.Module):
    """Values limited to a range."""

    def __init__(self, minimum: float, maximum: float) -> None:
        super().__init__()
        self.minimum, self.maximum = minimum, maximum

    def forward(self, x: Tensor) -> Tensor:
        """Return the limited values."""
        return x.clamp(self.minimum, self.maximum)


class AddScalar(nn.Module):
    """Values plus a number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.value


class MulScalar(nn.Module):
    """Values times a number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return x * self.value


class DropoutChannels(nn.Module):
    """Whole channels dropped in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with random channels zeroed, in training."""
        return torch.feature_dropout(x, self.p, self.training)


class ChannelAffine(nn.Module):
    """Each channel times a weight plus a bias of its own."""

    def __init__(self, shape: tuple[int, ...], *, has_weight: bool, has_bias: bool) -> None:
        super().__init__()
        self.trailing = len(shape) - 1
        self.weight = _meta(shape[0]) if has_weight else None
        self.bias = _meta(shape[0]) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted channels."""
        ones = (1,) * self.trailing
        if self.weight is not None:
            x = x * self.weight.view(-1, *ones)
        return x if self.bias is None else x + self.bias.view(-1, *ones)


def trailing_ones(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, int]:
    """Return how many dimensions of size 1 each of two values lacks next to the other."""
    rank = max(len(left), len(right))
    return rank - len(left), rank - len(right)


def _widened(x: Tensor, n_trailing: int) -> Tensor:
    return x[..., None, None] if n_trailing else x


class Add(nn.Module):
    """The sum of two values."""

    def __init__(self, trailing_left: int, trailing_right: int) -> None:
        super().__init__()
        self.trailing = trailing_left, trailing_right

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the sum, a vector having one value for each channel."""
        return _widened(left, self.trailing[0]) + _widened(right, self.trailing[1])


class Sub(Add):
    """The difference of two values."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the difference, a vector having one value for each channel."""
        return _widened(left, self.trailing[0]) - _widened(right, self.trailing[1])


class Mul(Add):
    """The product of two values."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the product, a vector having one value for each channel."""
        return _widened(left, self.trailing[0]) * _widened(right, self.trailing[1])


class Scale(nn.Module):
    """Values times a factor from outside: one for each channel, or any that broadcasts."""

    def forward(self, x: Tensor, factor: Tensor) -> Tensor:
        """Return the product; factors of one or two dimensions are of channels, (N, C) or (C,)."""
        is_of_channels = x.dim() == _IMAGE_RANK + 1 and factor.dim() < _IMAGE_RANK
        return x * (factor[..., None, None] if is_of_channels else factor)


class Maximum(Add):
    """The larger of two values, number by number."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the larger numbers, a vector having one value for each channel."""
        return torch.maximum(_widened(left, self.trailing[0]), _widened(right, self.trailing[1]))


class Minimum(Add):
    """The smaller of two values, number by number."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the smaller numbers, a vector having one value for each channel."""
        return torch.minimum(_widened(left, self.trailing[0]), _widened(right, self.trailing[1]))


class Cat(nn.Module):
    """Values joined along their channels."""

    def forward(self, *values: Tensor) -> Tensor:
        """Return the joined channels."""
        return torch.cat(values, 1)


def is_recorded() -> bool:
    """Whether torch records a program, which must have only its own operators."""
    return torch.compiler.is_compiling() or torch._C._is_tracing()  # noqa: SLF001 - torch.jit's, untyped


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


def pad(padding: Sequence[int], value: float) -> nn.Module:
    """Return a layer that adds pixels around the image."""
    left, right, top, bottom = padding
    return nn.ConstantPad2d((left, right, top, bottom), value)


class Subsample(nn.Module):
    """A window of the image, or every so manieth pixel of it."""

    def __init__(
        self, start: tuple[int, int], step: tuple[int, int], size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.rows, self.columns = (
            slice(at, at + by * (count - 1) + 1, by)
            for at, by, count in zip(start, step, size, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return those pixels."""
        return x[:, :, self.rows, self.columns]


class SelectChannels(nn.Module):
    """Some channels, in a given order."""

    indices: Tensor

    def __init__(self, indices: Sequence[int], n_channels: int) -> None:
        super().__init__()
        first, count = indices[0], len(indices)
        is_run = list(indices) == list(range(first, first + count)) and first + count <= n_channels
        self.run = (first, count) if is_run else None
        self.register_buffer("indices", torch.tensor(indices), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the selected channels."""
        if self.run is not None:
            return x.narrow(1, *self.run)
        if is_recorded() or _memory_format(x) is not torch.channels_last:
            return x.index_select(1, self.indices)
        # By itself `index_select` gives the default format, on which later layers are slow.
        pixels = x.permute(0, 2, 3, 1)
        selected = pixels.reshape(-1, x.shape[1]).index_select(1, self.indices)
        return selected.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


class ScatterChannels(nn.Module):
    """Channels put in their places among constant ones."""

    indices: Tensor
    fill: Tensor | None

    def __init__(
        self, indices: Sequence[int], n_channels: int, *, rank: int, has_fill: bool
    ) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.trailing = (1,) * (rank - 1)
        first, count = indices[0], len(indices)
        is_run = list(indices) == list(range(first, first + count))
        around = (*(0,) * (2 * rank - 2), first, n_channels - first - count)
        self.around = around if is_run else None
        self.register_buffer("indices", torch.tensor(indices), persistent=False)
        self.register_buffer("fill", _meta_buffer(n_channels) if has_fill else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return all channels."""
        if self.around is not None and self.fill is None:
            return F.pad(x, self.around)
        shape = (x.shape[0], self.n_channels, *x.shape[2:])
        filled = x.new_empty(shape).to(memory_format=_memory_format(x))
        if self.fill is None:
            filled.zero_()
        else:
            filled.copy_(self.fill.view(1, -1, *self.trailing).expand(shape))
        return filled.index_copy(1, self.indices, x)


def _memory_format(x: Tensor) -> torch.memory_format:
    is_image = x.dim() == 4  # noqa: PLR2004 - images, channels, height, width
    if is_image and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


class Constant(nn.Module):
    """The same channels for every image."""

    fill: Tensor | None

    def __init__(self, shape: tuple[int, ...], *, has_fill: bool) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("fill", _meta_buffer(shape[0]) if has_fill else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels for as many images as there are."""
        fill = x.new_zeros(self.shape[0]) if self.fill is None else self.fill
        ones = (1,) * (len(self.shape) - 1)
        return fill.view(1, -1, *ones).expand(x.shape[0], *self.shape)
