"""Batch normalisation, a mask for each image and channel, and a relu, in one pass over memory.

`relu(mask · (weight · (y - mean) / deviation + bias))` is one product and one sum for each number
of y. As three layers it is written to memory three times, and its gradient is as well. A batch that
is very large is taken in pieces, so that what is needed beside it stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modpm.core.graph.layers import is_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.graph.layers import UncountedBatchNorm2d

_PIECE_BYTES = 2**30  # of memory beside the values; smaller pieces keep threads waiting
_LARGE_BYTES = 2**22  # below it all fits in the cache as it is
_FORMAT = torch.channels_last


@dataclass(frozen=True)
class MaskedNorm:
    """Computes what a batch normalisation, a product with a mask and perhaps a relu do.

    Attributes:
        norm: The batch normalisation, whose statistics it keeps.
        has_relu: Whether a relu follows.
    """

    norm: UncountedBatchNorm2d
    has_relu: bool

    def __call__(self, y: Tensor, mask: Tensor) -> Tensor:
        """Return the masked, normalised values.

        Shapes:
            y: (N, C, H, W), mask: (N, C) -> (N, C, H, W)
        """
        weight, bias = self.norm.weight, self.norm.bias
        if weight is None or bias is None or not _is_for_cache(y, mask, weight):
            masked: Tensor = self.norm(y) * mask[:, :, None, None]
            return masked.relu_() if self.has_relu else masked
        mean, variance = self._statistics(y)
        rate = torch.rsqrt(variance + self.norm.eps)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (y, mask, weight, bias)):
            options = (self.has_relu, self.norm.training)
            result: Tensor = _MaskedNorm.apply(y, mask, weight, bias, mean, rate, *options)  # type: ignore[no-untyped-call]  # torch's
            return result
        return _forward(y, mask, weight, bias, mean, rate, has_relu=self.has_relu)

    def _statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance to normalise by, keeping the running ones in training."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not norm.training:
            return norm.running_mean, norm.running_var
        with torch.no_grad():
            momentum = 0.0 if norm.momentum is None else norm.momentum
            return torch.batch_norm_update_stats(y, norm.running_mean, norm.running_var, momentum)


def _is_for_cache(y: Tensor, mask: Tensor, weight: Tensor) -> bool:
    """Whether these are many numbers of one type in a processor's memory, channels last."""
    if y.numel() * y.element_size() < _LARGE_BYTES:
        return False
    same = y.dtype == mask.dtype == weight.dtype and y.dtype in {torch.float32, torch.float64}
    is_here = y.device.type == "cpu" and len(y) == len(mask)
    return same and is_here and y.is_contiguous(memory_format=_FORMAT) and not is_recorded()


def _pieces(y: Tensor) -> Iterator[slice]:
    """Cut a batch into pieces of a bounded size."""
    n_images = max(1, _PIECE_BYTES * len(y) // (y.numel() * y.element_size()))
    for start in range(0, len(y), n_images):
        yield slice(start, start + n_images)


def _spread(values: Tensor) -> Tensor:
    return values[..., None, None]


def _forward(y: Tensor, mask: Tensor, *norm: Tensor, has_relu: bool) -> Tensor:
    """Return the masked values; `norm` is weight, bias, mean and rate."""
    weight, bias, mean, rate = norm
    slope, out = weight * rate, torch.empty_like(y)
    scale, shift = _spread(mask * slope), _spread(mask * (bias - mean * slope))
    for piece in _pieces(y):
        torch.addcmul(shift[piece], y[piece], scale[piece], out=out[piece])
        if has_relu:
            out[piece].clamp_min_(0)
    return out


class _MaskedNorm(torch.autograd.Function):
    """The masked normalisation with its gradient.

    With t the gradient that passes the relu, n = (y - mean) · rate, and per image and channel
    S = Σ t, P = Σ t · y - mean · S:

        mask:   weight · rate · P + bias · S
        bias:   Σ mask · S            weight: rate · Σ mask · P         (over the images)
        y:      weight · rate · (mask · t - bias' / M - n · weight' / M),

    bias' and weight' being those gradients and M the numbers in a channel; without the two means
    where the statistics are not the batch's own.
    """

    @staticmethod
    def forward(*inputs: Any) -> Tensor:  # noqa: ANN401 - tensors and two flags
        *tensors, has_relu, _ = inputs
        return _forward(*tensors, has_relu=has_relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 - torch's
        *tensors, ctx.has_relu, ctx.is_training = inputs
        ctx.save_for_backward(*tensors, *([output] if ctx.has_relu else []))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's
        y, mask, weight, bias, mean, rate, *outputs = ctx.saved_tensors
        grad = grad.contiguous(memory_format=_FORMAT)
        passed, sums, products = _passed(grad, y, outputs[0] if outputs else None)
        products = products - mean * sums
        slope = weight * rate
        grad_mask = slope * products + bias * sums
        grad_weight, grad_bias = rate * (mask * products).sum(0), (mask * sums).sum(0)
        linear = constant = torch.zeros_like(mean)
        if ctx.is_training:
            count = y.numel() // y.shape[1]
            linear = -slope * rate * grad_weight / count
            constant = -slope * grad_bias / count - linear * mean
        out = passed if outputs else torch.empty_like(y)
        _combine(out, passed, mask * slope, y, (linear, constant))
        return out, grad_mask, grad_weight, grad_bias, None, None, None, None


def _passed(grad: Tensor, y: Tensor, output: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient t that passes the relu, and for each image Σ t and Σ t · y."""
    passed = grad if output is None else torch.empty_like(y)
    sums, products = y.new_empty(y.shape[:2]), y.new_empty(y.shape[:2])
    for piece in _pieces(y):
        if output is not None:
            into = {"grad_input": passed[piece]}
            torch.ops.aten.threshold_backward.grad_input(grad[piece], output[piece], 0, **into)
        torch.sum(passed[piece], (2, 3), out=sums[piece])
        torch.sum(passed[piece] * y[piece], (2, 3), out=products[piece])
    return passed, sums, products


def _combine(
    out: Tensor, passed: Tensor, factor: Tensor, y: Tensor, line: tuple[Tensor, Tensor]
) -> None:
    """Write factor · passed + linear · y + constant, perhaps in the place of `passed`."""
    factor, linear, constant = (_spread(values) for values in (factor, *line))
    for piece in _pieces(y):
        rest = torch.addcmul(constant, y[piece], linear)
        torch.addcmul(rest, passed[piece], factor[piece], out=out[piece])
