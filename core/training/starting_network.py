"""The network that a run starts from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.network_graph import Graph
from modpm.core.formats.records import convert
from modpm.core.graph import Trace, build, read_network
from modpm.core.kept_images import path_for
from modpm.core.networks import ARCHITECTURES, check_network, create, load_initial_weights
from modpm.core.networks.initial_weights import silent
from modpm.core.system.whole_files import read_at_most, write_file
from modpm.core.training.batches import seeded_generator
from modpm.core.training.methods import find_method

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor, nn

    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.configuration import TrainingConfiguration

_METHOD = 1  # the stream of chance that a method draws weights from


def starting_network(
    configuration: TrainingConfiguration,
    n_classes: int,
    contract: InputContract,
    on_new_head: Callable[[str], None] = silent,
    live: nn.Module | None = None,
) -> GraphNetwork:
    """Create a run's network, with what its method adds; what is frozen needs no gradients.

    Args:
        configuration: Says which, and what weights it starts from.
        n_classes: How many outputs it must have.
        contract: Images it must take.
        on_new_head: Is told, in a sentence, where its last layer is new though it starts from
            trained weights.
        live: The network, where it is in memory already; it is read, and left as it is.

    Raises:
        ModpmError: It cannot be created, traced or trained by the method, does not fit the data, or
            its weights cannot be loaded; `nothing-to-train`.
    """
    shape = contract.channels, contract.height, contract.width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.seed)
        network = live
        if network is None:
            network = create(
                configuration.arch,
                n_classes,
                contract.channels,
                configuration.width,
                pretrained=configuration.pretrained,
                on_new_head=on_new_head,
            )
        check_network(network, shape, n_classes)
        if configuration.init is not None:
            load_initial_weights(
                network, configuration.init, n_classes=n_classes, on_new_head=on_new_head
            )
        # What is in memory may be called as one that is shipped, whose graph is kept.
        arch = configuration.arch if live is None else ""
        graph, tensors, frozen = traced(network, arch, configuration.width, (n_classes, *shape))
    chance = seeded_generator(configuration.seed, 0, _METHOD)
    prepared = build(*find_method(configuration.method).prepare(graph, tensors, chance))
    freeze(prepared, frozen)
    if not frozen_parameters(prepared).keys() < dict(prepared.named_parameters()).keys():
        raise ModpmError(
            "the network has nothing to train",
            code="nothing-to-train",
            why="none of its parameters has `requires_grad=True`",
        )
    return prepared


def freeze(network: GraphNetwork, names: Collection[str]) -> None:
    """Let training leave parameters as they are.

    Args:
        network: Whose parameters.
        names: Of them; names of buffers say nothing new.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name not in names)


def frozen_parameters(network: GraphNetwork) -> dict[str, Tensor]:
    """Return the parameters that training leaves as they are, by name."""
    return {name: p for name, p in network.named_parameters() if not p.requires_grad}


def traced(network: nn.Module, arch: str, width: float, shapes: tuple[int, ...]) -> Trace:
    """Read a network into a graph; the graph of one that is shipped is kept for the next time.

    Tracing imports the compiler and takes longer than all else before the first step.

    Args:
        network: The network.
        arch: What it was created by.
        width: The factor on its channels.
        shapes: Its classes, and channels, height and width of its images.
    """
    example = torch.zeros(2, *shapes[1:])
    if arch not in ARCHITECTURES:
        return read_network(network, example)
    # What decides the graph, but for the numbers of its tensors.
    asked = (arch, width, shapes, torch.__version__)
    path = path_for(_sources(), asked).with_suffix(".graph")
    state = {name: x for name, x in network.state_dict().items() if x.is_floating_point()}
    graph = _kept_graph(path)
    if graph is not None:
        names = {name for node in graph.nodes for name in node.tensors.values()}
        if names <= state.keys():
            tensors = {name: x.detach().clone() for name, x in state.items() if name in names}
            return Trace(graph, tensors, frozenset())  # it trains all of its parameters
    traced = read_network(network, example)
    # A network may have tensors that its graph makes into others.
    if all(name in state and torch.equal(x, state[name]) for name, x in traced.tensors.items()):
        _keep_graph(path, traced.graph)
    return traced


def _sources() -> list[Path]:
    """Return the files that say what a shipped network and its graph are."""
    core = Path(__file__).parents[1]
    folders = (core / "networks", core / "graph")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def _kept_graph(path: Path) -> Graph | None:
    try:
        said, _, encoded = read_at_most(path, canonical_json.MAX_SIZE_BYTES).partition(b"\n")
        if said.decode() != digest_bytes(encoded):
            return None
        return convert(canonical_json.decode(encoded, str(path)), Graph)
    except (OSError, ValueError, ModpmError, msgspec.ValidationError):
        return None


def _keep_graph(path: Path, graph: Graph) -> None:
    with suppress(OSError, ModpmError):  # a home that cannot be written to is done without
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = canonical_json.encode(msgspec.to_builtins(graph))
        write_file(path, digest_bytes(encoded).encode() + b"\n" + encoded)
