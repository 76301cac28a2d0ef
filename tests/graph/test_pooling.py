"""Pools that do not note where what they take was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch.profiler import profile

from modpm.core.graph.operators.pooling import MaxPool2d

CHANNELS_LAST = torch.channels_last


def halving() -> MaxPool2d:
    return MaxPool2d((2, 2), (2, 2), (0, 0), (1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 8, 32, 16), (16, 8, 33, 16), (64, 3, 32, 33), (1, 1, 2, 2)])
@pytest.mark.parametrize("memory_format", [CHANNELS_LAST, torch.contiguous_format])
def test_the_largest_of_each_two_by_two_is_what_torch_finds(
    shape: tuple[int, ...], memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype).contiguous(memory_format=memory_format)
    x[0, 0, 0] = torch.nan
    x[0, 0, 1] = -torch.inf
    found, expected = halving()(x), F.max_pool2d(x, 2)
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))
    assert found.stride() == expected.stride()
    trained = x.clone().requires_grad_()
    assert torch.equal(halving()(trained).nan_to_num(7), expected.nan_to_num(7))


def test_places_are_noted_where_gradients_need_them() -> None:
    x = torch.randn(16, 8, 32, 32).contiguous(memory_format=CHANNELS_LAST)
    for needs_gradient in (False, True):
        with profile() as calls:
            halving()(x.requires_grad_(needs_gradient))
        names = {event.key for event in calls.key_averages()}
        assert ("aten::max_pool2d_with_indices" in names) is needs_gradient
