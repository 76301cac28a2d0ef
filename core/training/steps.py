"""Steps of training: none of them waits for the device, whose losses are read now and then."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from modpm.core.training.methods.method import Losses

EVERY = 50
"""Steps between two readings of the losses."""


class NotFinite(NamedTuple):
    """The first step whose loss is not finite.

    Attributes:
        step: Of the epoch, from 1.
        losses: What it lost.
    """

    step: int
    losses: dict[str, float]


class EpochLosses:
    """The losses of an epoch, which stay on the device until they are read.

    Attributes:
        last: The last loss that was read.
        not_finite: The first step that was not, if one was not; known once it is read.
    """

    def __init__(self) -> None:
        self.last = math.nan
        self.not_finite: NotFinite | None = None
        self._unread: list[Losses] = []
        self._n_read = 0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: Losses) -> None:
        """Add those of a step, and read those that are unread if it is time."""
        self._unread.append(losses)
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss
            self._counts[name] = self._counts.get(name, 0) + 1
        if self._n_read == 0 or len(self._unread) == EVERY:
            self.read()

    def read(self) -> None:
        """Read what is unread from the device."""
        if not self._unread:
            return
        values = torch.stack([losses["loss"] for losses in self._unread]).tolist()
        for i, value in enumerate(values):
            if not math.isfinite(value) and self.not_finite is None:
                parts = {name: loss.item() for name, loss in self._unread[i].items()}
                self.not_finite = NotFinite(self._n_read + i + 1, parts)
        self._n_read += len(values)
        self.last = values[-1]
        self._unread.clear()

    def means(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return each loss as the mean over the steps that had it.

        Args:
            reduce: Makes one number of the same numbers of all processes.
        """
        means = {name: reduce(total) / self._counts[name] for name, total in self._sums.items()}
        return {name: mean.item() for name, mean in means.items()}


class CompiledLoss:
    """The losses of a method, compiled and captured where that is possible.

    Args:
        method: Gives the losses of a step; as it is, or as its gradients are shared.
        options: Of `torch.compile`; None not to compile.
    """

    def __init__(self, method: nn.Module, options: dict[str, Any] | None) -> None:
        self._plain = method
        self._compiled: Callable[..., Losses] | None = None
        if options is not None:
            self._compiled = torch.compile(method, **options)

    @property
    def is_compiled(self) -> bool:
        """Whether it still is."""
        return self._compiled is not None

    def __call__(self, *inputs: Tensor) -> Losses:
        """Return the losses of a step; if it cannot be compiled, plainly from now on."""
        if self._compiled is None:
            return self._run_plainly(*inputs)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's
        try:
            return self._compiled(*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:  # noqa: SLF001 -- torch names no other
            self._compiled = None
            torch.compiler.reset()
            first = str(error).strip().split("\n", 1)[0]
            warnings.warn(f"the step is not compiled, and slower: {first:.200}", stacklevel=2)
            return self._run_plainly(*inputs)

    def _run_plainly(self, *inputs: Tensor) -> Losses:
        losses: Losses = self._plain(*inputs)
        return losses


def compile_options(device: torch.device, *, is_deterministic: bool) -> dict[str, Any] | None:
    """Return how a step is compiled: captured on CUDA, elsewhere not at all."""
    if device.type != "cuda" or is_deterministic:
        return None
    return {"mode": "reduce-overhead", "dynamic": False}
