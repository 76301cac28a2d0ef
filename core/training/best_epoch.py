"""The epoch of a run that was best on held-out images, kept until the run is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from modpm.core.system.whole_files import write_file
from modpm.core.training.checkpoint import Checkpoint, encode_checkpoint, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from modpm.core.training.run import Run


@dataclass
class BestEpoch:
    """The best epoch so far.

    Attributes:
        run: The run.
        epoch: From 1; 0 while there is none.
        accuracy: Of it, on held-out images.
    """

    run: Run
    epoch: int = 0
    accuracy: float = -1.0

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return that of a run that is begun, or goes on.

        Raises:
            ModpmError: What is kept of it cannot be read.
        """
        path, metrics = run.best_path, run.metrics()
        epoch = read_checkpoint(path).steps_done // run.n_steps if path.exists() else 0
        if not 0 < epoch <= len(metrics):  # the epochs after the last checkpoint are trained again
            return cls(run)
        return cls(run, epoch, metrics[epoch - 1]["val_accuracy"])

    def meet(self, epoch: int, accuracy: float) -> bool:
        """Take note of an epoch that is done; return whether it is better than all before."""
        is_better = accuracy > self.accuracy
        if is_better:
            self.epoch, self.accuracy = epoch, accuracy
        return is_better

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Keep the state after it.

        Raises:
            ModpmError: It cannot be written.
        """
        checkpoint = Checkpoint(self.epoch * self.run.n_steps, dict(state), {}, {})
        write_file(self.run.best_path, encode_checkpoint(checkpoint))

    def state(self) -> dict[str, Tensor]:
        """Return the state after it.

        Raises:
            ModpmError: It cannot be read.
        """
        return read_checkpoint(self.run.best_path).state

    def is_long_ago(self, epoch: int) -> bool:
        """Say whether as many epochs have passed since as the run has patience."""
        patience = self.run.config.patience
        return patience is not None and self.epoch > 0 and epoch - self.epoch >= patience
