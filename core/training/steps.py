"""Steps of training: none of them waits for the device, whose losses are read now and then."""

from __future__ import annotations

import math
import warnings
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modpm.core.training.checkpoint import LossSum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    Args:
        sums: Of the steps that were done before, by name.
        n_done: How many these are.
        gather: Makes of one process's numbers, (n,), those of all, (n_processes, n).

    Attributes:
        sums: Each loss over the steps that are read and had it; the mean of all processes.
        last: The last loss that was read.
        not_finite: The first step that was not in some process, if one was not; known once it is
            read.
    """

    def __init__(
        self,
        sums: Mapping[str, LossSum] | None = None,
        n_done: int = 0,
        gather: Callable[[Tensor], Tensor] = torch.atleast_2d,
    ) -> None:
        self.sums = dict(sums or {})
        self.last = math.nan
        self.not_finite: NotFinite | None = None
        self._n_read = n_done
        self._gather = gather
        self._unread: list[Tensor] = []
        self._names: list[tuple[str, ...]] = []

    @property
    def is_read(self) -> bool:
        """Whether all that were added are read."""
        return not self._unread

    def add(self, losses: Losses) -> None:
        """Add those of a step, and read those that are unread if it is time."""
        # A copy: the next step of a captured program overwrites what this one gave.
        self._unread.append(torch.stack([loss.detach() for loss in losses.values()]))
        self._names.append(tuple(losses))
        if self._n_read == 0 or len(self._unread) == EVERY:
            self.read()

    def read(self) -> None:
        """Read what is unread from the device."""
        if self.is_read:
            return
        rows = [iter(row) for row in self._gather(torch.cat(self._unread)).tolist()]
        for names in self._names:
            self._count([{name: next(row) for name in names} for row in rows])
        self._unread.clear()
        self._names.clear()

    def _count(self, step: Sequence[Mapping[str, float]]) -> None:
        """Count a step's losses, those of each process."""
        self._n_read += 1
        bad = next((losses for losses in step if not math.isfinite(losses["loss"])), None)
        if bad is not None and self.not_finite is None:
            self.not_finite = NotFinite(self._n_read, dict(bad))
        means = {name: fmean(losses[name] for losses in step) for name in step[0]}
        self.last = means["loss"]
        for name, mean in means.items():
            total, n_steps = self.sums.get(name, LossSum())
            self.sums[name] = LossSum(total + mean, n_steps + 1)

    def means(self) -> dict[str, float]:
        """Return each loss as the mean over the steps that are read and had it."""
        return {name: total / n_steps for name, (total, n_steps) in self.sums.items()}


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
