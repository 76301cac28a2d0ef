"""Training state as one tensor file, written in a thread; and what names a network's exact numbers.

A checkpoint has what a run cannot make again. What is drawn at a step depends on nothing but the
seed and the step, so that no state of a generator is in it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
import torch

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.system.energy import NOTHING, Spent
from modpm.core.system.whole_files import write_file
from modpm.core.tensors import encode_tensors, load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph

SECONDS = 120.0
"""Between two checkpoints, at least: what an interruption costs at most, but for some steps."""

_STATE, _MOMENTUM, _SUM = "state.", "momentum.", "sum."
_STEPS_DONE, _SPENT = "steps_done", "seconds"


class LossSum(NamedTuple):
    """A loss, summed over the steps of an epoch that had it, and how many these were."""

    total: float = 0.0
    n_steps: int = 0


class Checkpoint(NamedTuple):
    """State after some steps.

    Attributes:
        steps_done: How many, of the run.
        state: What is trained and counted, by its names in the state dict.
        momentum: The optimizer's, by the names of the parameters.
        sums: Of the epoch that it lies in, the losses by their names.
        spent: What it has taken of that epoch.
    """

    steps_done: int
    state: dict[str, Tensor]
    momentum: dict[str, Tensor]
    sums: dict[str, LossSum]
    spent: Spent = NOTHING


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as one tensor file: written whole, it is the last one or this one."""
    tensors = {f"{_STATE}{name}": tensor for name, tensor in checkpoint.state.items()}
    tensors |= {f"{_MOMENTUM}{name}": tensor for name, tensor in checkpoint.momentum.items()}
    tensors |= {f"{_SUM}{name}": _exact(*total) for name, total in checkpoint.sums.items()}
    tensors |= {_STEPS_DONE: torch.tensor(checkpoint.steps_done)}
    return encode_tensors(tensors | {_SPENT: _exact(*checkpoint.spent)})


def _exact(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModpmError: It is no whole tensor file, or no checkpoint (`damaged-run`).
    """
    tensors = load_tensors(path)
    if not {_STEPS_DONE, _SPENT} <= tensors.keys():
        raise ModpmError("this is not a checkpoint", code="damaged-run", where=str(path))
    sums = {name: pair.tolist() for name, pair in _under(_SUM, tensors).items()}
    return Checkpoint(
        int(tensors[_STEPS_DONE]),
        _under(_STATE, tensors),
        _under(_MOMENTUM, tensors),
        {name: LossSum(total, int(n_steps)) for name, (total, n_steps) in sums.items()},
        Spent(*tensors[_SPENT].tolist()),
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


class CheckpointWriter:
    """Writes checkpoints in a thread of its own, one at a time, while training goes on.

    What goes wrong there is raised by the next call; leaving waits for the thread.

    Args:
        path: The file, replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._begun = time.monotonic()

    def is_due(self) -> bool:
        """Say whether it is time for one, and none is being written."""
        return self._writing is None and time.monotonic() - self._begun >= SECONDS

    def begin(self, checkpoint: Checkpoint) -> None:
        """Copy a state to the host's memory, and begin to write it.

        Raises:
            ModpmError: The one before could not be written.
        """
        self.finish()
        self._begun = time.monotonic()
        kept = checkpoint._replace(
            state=_copied(checkpoint.state), momentum=_copied(checkpoint.momentum)
        )
        self._writing = self._thread.submit(self._write, kept)

    def check(self) -> None:
        """Look after what is being written, without waiting for it.

        Raises:
            ModpmError: It cannot be written.
        """
        if self._writing is not None and self._writing.done():
            self.finish()

    def finish(self) -> None:
        """Wait until what has begun is written.

        Raises:
            ModpmError: It cannot be.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, checkpoint: Checkpoint) -> None:
        write_file(self._path, encode_checkpoint(checkpoint))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def network_digest(graph: Graph, tensors: Mapping[str, Tensor]) -> str:
    """Return the digest that names a network: its graph, and every tensor's exact numbers.

    It does not depend on how a file arranges them.
    """
    record = {
        "graph": msgspec.to_builtins(graph),
        "tensors": {name: _tensor_record(tensor) for name, tensor in tensors.items()},
    }
    return digest_bytes(canonical_json.encode(record))


def _tensor_record(tensor: Tensor) -> dict[str, object]:
    plain = tensor.detach().cpu().contiguous()
    return {
        "digest": digest_bytes(plain.flatten().view(torch.uint8).numpy().tobytes()),
        "dtype": str(plain.dtype).removeprefix("torch."),
        "shape": list(plain.shape),
    }
