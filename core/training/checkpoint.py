"""Training state as one tensor file, and what names a network's exact numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.tensors import encode_tensors, load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph

_STATE, _MOMENTUM, _EPOCHS_DONE = "state.", "momentum.", "epochs_done"


class Checkpoint(NamedTuple):
    """State after some epochs.

    Attributes:
        epochs_done: How many.
        state: What is trained and counted, by its names in the state dict.
        momentum: The optimiser's, by the names of the parameters.
    """

    epochs_done: int
    state: dict[str, Tensor]
    momentum: dict[str, Tensor]


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as one tensor file: written whole, it is the last one or this one."""
    tensors = {f"{_STATE}{name}": tensor for name, tensor in checkpoint.state.items()}
    tensors |= {f"{_MOMENTUM}{name}": tensor for name, tensor in checkpoint.momentum.items()}
    return encode_tensors(tensors | {_EPOCHS_DONE: torch.tensor(checkpoint.epochs_done)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModpmError: It is no whole tensor file, or no checkpoint (`damaged-run`).
    """
    tensors = load_tensors(path)
    if _EPOCHS_DONE not in tensors:
        raise ModpmError("this is not a checkpoint", code="damaged-run", where=str(path))
    epochs_done = int(tensors[_EPOCHS_DONE])
    return Checkpoint(epochs_done, _under(_STATE, tensors), _under(_MOMENTUM, tensors))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


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
