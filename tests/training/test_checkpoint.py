from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, Node
from modpm.core.tensors import encode_tensors
from modpm.core.training.checkpoint import (
    Checkpoint,
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
    path.write_bytes(
        encode_checkpoint(Checkpoint(3, state, {"network.conv.weight": torch.ones(2)}))
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.epochs_done == 3
    assert {name: tensor.tolist() for name, tensor in checkpoint.state.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
    assert checkpoint.momentum["network.conv.weight"].tolist() == [1, 1]


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
