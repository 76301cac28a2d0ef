"""Batch normalization, a mask for each image and channel, a sum and a relu, in few passes.

`relu(mask · (weight · (y - mean) / deviation + bias) + other)` is a product and two sums for each
number of y. As four layers it is written to memory four times, and its gradient is as well. Masks
of generators are such: a step of `mwt` takes 4 % less of a processor's time with it. What scales
views has no gradient, and is cheaper as `scale_`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modpm.core.graph.operators.definition import is_recorded

if TYPE_CHECKING:
    from modpm.core.graph.operators.normalization import UncountedBatchNorm2d

_LARGE_BYTES = 2**21  # below it all fits in the cache as it is, and so does the gradient
_LARGE_BYTES_FORWARD = 2**19  # the same where there is no gradient
_FORMAT = torch.channels_last


@dataclass(frozen=True)
class MaskedNorm:
    """Computes what a batch normalization, a product with a mask and perhaps more layers do.

    Attributes:
        norm: The batch normalization, whose statistics it keeps.
        has_relu: Whether a relu comes last.
    """

    norm: UncountedBatchNorm2d
    has_relu: bool

    def __call__(self, y: Tensor, mask: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the masked, normalized values, plus others where there are some.

        Shapes:
            y: (N, C, H, W), mask: (N, C), other: as y -> (N, C, H, W)
        """
        norm = self.norm
        weight, bias = norm.weight, norm.bias
        if weight is None or bias is None or not _is_for_cache(y, mask, weight, other):
            value: Tensor = norm(y) * mask[:, :, None, None]
            value = value if other is None else value + other
            return value.relu_() if self.has_relu else value
        mean, variance = self._statistics(y)
        rate = torch.rsqrt(variance + norm.eps)
        options = (self.has_relu, norm.training)
        result: Tensor = _MaskedNorm.apply(y, mask, weight, bias, other, mean, rate, *options)  # type: ignore[no-untyped-call]  # torch's
        return result

    def _statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance to normalize by, keeping the running ones in training."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not norm.training:
            return norm.running_mean, norm.running_var
        with torch.no_grad():
            momentum = 0.0 if norm.momentum is None else norm.momentum
            return torch.batch_norm_update_stats(y, norm.running_mean, norm.running_var, momentum)


def _is_for_cache(y: Tensor, mask: Tensor, weight: Tensor, other: Tensor | None) -> bool:
    """Whether these are many numbers of one type in a processor's memory, channels last."""
    large = _LARGE_BYTES if torch.is_grad_enabled() else _LARGE_BYTES_FORWARD
    if y.numel() * y.element_size() < large or y.device.type != "cpu" or is_recorded():
        return False
    same = y.dtype == mask.dtype == weight.dtype and y.dtype in {torch.float32, torch.float64}
    is_laid_out = len(y) == len(mask) and y.is_contiguous(memory_format=_FORMAT)
    return same and is_laid_out and (other is None or _is_alike(other, y))


def _is_alike(other: Tensor, y: Tensor) -> bool:
    is_laid_out = other.is_contiguous(memory_format=_FORMAT)
    return other.dtype == y.dtype and other.shape == y.shape and is_laid_out


def _spread(values: Tensor) -> Tensor:
    return values[..., None, None]


class _MaskedNorm(torch.autograd.Function):
    """The masked normalization with its gradient.

    With t the gradient that passes the relu, n = (y - mean) · rate, and per image and channel
    S = Σ t, P = Σ t · y - mean · S:

        mask:   weight · rate · P + bias · S
        bias:   Σ mask · S            weight: rate · Σ mask · P         (over the images)
        y:      weight · rate · (mask · t - bias' / M - n · weight' / M)
        other:  t

    bias' and weight' being those gradients and M the numbers in a channel; without the two means
    where the statistics are not the batch's own.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # noqa: ANN401 - torch's; tensors and two flags
        y, mask, weight, bias, other, mean, rate, ctx.has_relu, ctx.is_training = inputs
        slope = weight * rate
        scale, shift = mask * slope, mask * torch.addcmul(bias, mean, slope, value=-1)
        if other is None:
            out = torch.addcmul(_spread(shift), y, _spread(scale), out=torch.empty_like(y))
        else:
            out = torch.addcmul(other, y, _spread(scale)).add_(_spread(shift))
        if ctx.has_relu:
            out.clamp_min_(0)
        ctx.has_other = other is not None
        saved = [y, mask, weight, bias, mean, rate, *([out] if ctx.has_relu else [])]
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's
        y, mask, weight, bias, mean, rate, *outputs = ctx.saved_tensors
        grad = grad.contiguous(memory_format=_FORMAT)
        passed = torch.ops.aten.threshold_backward(grad, outputs[0], 0) if outputs else grad
        sums, out = passed.sum((2, 3)), passed * y
        products = torch.addcmul(out.sum((2, 3)), mean, sums, value=-1)
        slope = weight * rate
        grad_mask = torch.addcmul(bias * sums, slope, products)
        grad_weight, grad_bias = rate * (mask * products).sum(0), (mask * sums).sum(0)
        factor = _spread(mask * slope)
        if ctx.is_training:
            slope = slope / (-y.numel() // y.shape[1])
            linear = slope * rate * grad_weight
            constant = torch.addcmul(slope * grad_bias, linear, mean, value=-1)
            torch.addcmul(_spread(constant), y, _spread(linear), out=out)
            out.addcmul_(passed, factor)
        else:
            torch.mul(passed, factor, out=out)
        grad_other = passed if ctx.has_other else None
        return out, grad_mask, grad_weight, grad_bias, grad_other, None, None, None, None
