"""Where networks run, and how exact the arithmetic is there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from modpm.core.errors import ModpmError
from modpm.core.system.energy import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps")


def choose_device(name: str = AUTO) -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: `cpu`, `cuda`, `mps`; or `auto` for the accelerator where there is one.

    Raises:
        ModpmError: There is no such device here (`no-such-device`).
    """
    there = torch.accelerator.current_accelerator(check_available=True)
    kind = None if there is None else there.type
    if name == "cpu" or (name == AUTO and kind is None):
        return torch.device("cpu")
    if name in {AUTO, kind}:
        assert kind is not None
        return torch.device(kind)
    raise ModpmError(
        f"there is no device `{name}` here",
        code="no-such-device",
        why=f"there is {'only the processor' if kind is None else f'`{kind}`'}",
        hint=f"take one of {', '.join(DEVICES)}",
        exit_code=2,
    )


def meter_of(device: torch.device, n_processes: int = 1) -> Meter:
    """Return what measures the work of a device from now on, and that of the processor."""
    board = None
    if device.type == "cuda":
        board = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    return Meter(device.type, board, n_processes)


@contextmanager
def arithmetic(device: torch.device, *, is_deterministic: bool) -> Iterator[None]:
    """Choose the arithmetic of an accelerator, and put back the host's choice afterwards.

    On a processor nothing is chosen: it is exact and repeatable as it is.

    Args:
        device: Where networks run.
        is_deterministic: The same bytes on every run, and float32 that is one; otherwise products
            of float32 in TF32, and the fastest convolutions that a search finds.
    """
    if device.type == "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    settings = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("highest" if is_deterministic else "high")
    torch.use_deterministic_algorithms(is_deterministic or was_deterministic)
    cudnn.benchmark = not is_deterministic
    cudnn.deterministic = is_deterministic
    cudnn.allow_tf32 = not is_deterministic
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.use_deterministic_algorithms(was_deterministic)
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = settings
