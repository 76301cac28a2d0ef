from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, Node
from modpm.core.system.energy import Spent
from modpm.core.tensors import encode_tensors
from modpm.core.training import checkpoint
from modpm.core.training.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    LossSum,
    encode_checkpoint,
    network_digest,
    read_checkpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = Graph("input", (1, 8, 8), (Node("relu", "relu", ("input",)),), "relu")


def test_a_checkpoint_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    state = {"network.conv.weight": torch.randn(2, 3), "frequencies.weights": torch.ones(2)}
    sums = {"loss": LossSum(0.1 + 0.2, 3), "view_loss": LossSum(1e-300, 1)}
    written = Checkpoint(3, state, {"network.conv.weight": torch.ones(2)}, sums, Spent(0.3, 7.1))
    path.write_bytes(encode_checkpoint(written))
    kept = read_checkpoint(path)
    assert kept.steps_done == 3
    assert (kept.sums, kept.spent) == (sums, Spent(0.3, 7.1))
    assert {name: tensor.tolist() for name, tensor in kept.state.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
    assert kept.momentum["network.conv.weight"].tolist() == [1, 1]


def test_other_tensor_files_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(encode_tensors({"weight": torch.ones(1)}))
    with pytest.raises(ModpmError) as refusal:
        read_checkpoint(path)
    assert refusal.value.code == "damaged-run"


def test_the_network_digest_depends_on_every_number_and_on_no_order() -> None:
    tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.ones(2, 1, 2, 2)}
    digest = network_digest(GRAPH, tensors)
    other_layout = {"b": tensors["b"].to(memory_format=torch.channels_last), "a": tensors["a"]}
    assert network_digest(GRAPH, other_layout) == digest
    for changed in (
        tensors | {"a": torch.tensor([1.0, 2.0000002])},
        tensors | {"a": torch.tensor([1.0, 2.0]).double()},
        tensors | {"b": torch.ones(2, 2, 1, 2)},
        {"a": tensors["a"]},
    ):
        assert network_digest(GRAPH, changed) != digest
    other_graph = Graph("input", (1, 9, 8), GRAPH.nodes, "relu")
    assert network_digest(other_graph, tensors) != digest


def checkpoint_of(tensor: torch.Tensor, steps_done: int) -> Checkpoint:
    return Checkpoint(steps_done, {"weight": tensor}, {"weight": tensor}, {})


def test_a_checkpoint_has_the_numbers_of_the_moment_it_was_begun(tmp_path: Path) -> None:
    path, weight = tmp_path / "last.safetensors", torch.ones(1000)
    with CheckpointWriter(path) as writer:
        writer.begin(checkpoint_of(weight, 1))
        weight.zero_()
        writer.finish()
    kept = read_checkpoint(path)
    assert torch.equal(kept.state["weight"], torch.ones(1000))
    assert torch.equal(kept.momentum["weight"], torch.ones(1000))


def test_a_checkpoint_is_due_after_some_time_and_when_none_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def write_later(path: Path, data: bytes) -> None:
        may_write.wait(60)
        path.write_bytes(data)

    monkeypatch.setattr(checkpoint, "write_file", write_later)
    with CheckpointWriter(tmp_path / "last.safetensors") as writer:
        assert not writer.is_due()
        monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
        assert writer.is_due()
        writer.begin(checkpoint_of(torch.ones(1), 1))
        writer.check()
        assert not writer.is_due()
        may_write.set()
        writer.finish()
        assert writer.is_due()
    assert read_checkpoint(tmp_path / "last.safetensors").steps_done == 1


def test_what_goes_wrong_in_the_thread_is_raised_once_where_training_looks(
    tmp_path: Path,
) -> None:
    with CheckpointWriter(tmp_path / "missing" / "last.safetensors") as writer:
        writer.begin(checkpoint_of(torch.ones(1), 1))
        with pytest.raises(ModpmError) as refusal:
            writer.finish()
        assert refusal.value.code == "cannot-write"
        writer.check()
