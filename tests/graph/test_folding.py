"""Networks that predict with batch normalizations folded into the layers before."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from tests.graph.zoo import CONV
from tests.slicing.random_networks import SIZE, Network, networks, random_tensors
from torch import Tensor, nn

from modpm.core.graph import Graph, GraphNetwork, Node, build, tensor_shapes, trace
from modpm.core.graph.folding import fold
from modpm.core.graph.operators.reshaping import ScatterChannels
from modpm.core.networks.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable


NORM_ROLES = ("weight", "bias", "running_mean", "running_var")


def conv(name: str, source: str = "x", *, roles: tuple[str, ...] = ("weight",)) -> Node:
    return Node(name, "conv2d", (source,), CONV, {role: f"{name}.{role}" for role in roles})


def norm(name: str, source: str) -> Node:
    tensors = {role: f"{name}.{role}" for role in NORM_ROLES}
    return Node(name, "batch_norm2d", (source,), {"eps": 1e-5, "momentum": 0.1}, tensors)


def graph_of(*nodes: Node, channels: int = 3) -> Graph:
    return Graph("x", (channels, SIZE, SIZE), nodes, nodes[-1].name)


def images(n: int = 3, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, SIZE, SIZE, generator=generator, dtype=torch.double)


def operators(graph: Graph) -> list[str]:
    return [node.operator for node in graph.nodes]


@torch.no_grad()
def assert_folded_equals(graph: Graph, tensors: dict[str, Tensor]) -> Graph:
    """Assert that the folded network computes what the whole one does, and return its graph."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    folded, numbers = fold(graph, tensors)
    x = images(channels=graph.input_shape[0])
    expected = build(graph, tensors).eval()(x)
    found = build(folded, numbers).eval()(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in before.items())
    assert numbers.keys() == tensor_shapes(folded).keys()
    return folded


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_a_folded_network_computes_what_the_network_does(network: Network) -> None:
    graph, tensors = network
    folded = assert_folded_equals(graph, tensors)
    assert folded.output == graph.output
    assert len(folded.nodes) <= len(graph.nodes)


@pytest.mark.parametrize("name", [*ARCHITECTURES])
def test_every_shipped_network_predicts_as_it_computes(name: str) -> None:
    torch.manual_seed(0)
    channels, side = (1, 8) if name == "digits_cnn" else (3, 32)
    network = ARCHITECTURES[name](3, channels, 0.25)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]  # there is one
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]  # the same
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    traced = build(*trace(network, torch.randn(2, channels, side, side))).eval()
    folded, _ = fold(traced.graph, traced.state_dict())
    assert "batch_norm2d" not in operators(folded)
    x = torch.randn(3, channels, side, side)
    with torch.inference_mode():
        found, expected = traced.predict(x), traced(x)
    assert not torch.equal(found, expected)  # it is the folded network that predicted
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "roles", [("weight",), ("weight", "bias"), ("weight", "offset"), ("weight", "bias", "offset")]
)
def test_a_layer_takes_in_what_follows_it_with_or_without_constants_of_its_own(
    roles: tuple[str, ...],
) -> None:
    affine = Node("a", "channel_affine", ("n",), {}, {"weight": "a.weight"})
    graph = graph_of(conv("c", roles=roles), norm("n", "c"), affine)
    folded = assert_folded_equals(graph, random_tensors(graph, 0))
    assert operators(folded) == ["conv2d"]


def test_a_normalization_stays_where_its_layer_is_read_otherwise_or_is_none() -> None:
    twice = graph_of(conv("c"), norm("n", "c"), Node("s", "add", ("c", "n")))
    before = graph_of(norm("n", "x"), Node("r", "relu", ("n",)), conv("c", "r"))
    after = graph_of(conv("c"), Node("r", "relu", ("c",)), norm("n", "r"))
    output = Graph("x", (3, SIZE, SIZE), (conv("c"), norm("n", "c")), "c")
    for graph in (twice, before, after, output):
        folded = assert_folded_equals(graph, random_tensors(graph, 0))
        assert operators(folded) == operators(graph)


def test_one_layer_called_twice_is_folded_where_it_can_be() -> None:
    again = Node("again", "conv2d", ("relu",), CONV, {"weight": "c.weight"})
    nodes = conv("c"), norm("n", "c"), Node("relu", "relu", ("n",)), again
    graph = graph_of(*nodes, channels=4)
    folded = assert_folded_equals(graph, random_tensors(graph, 0))
    assert operators(folded) == ["conv2d", "relu", "conv2d"]
    both = graph_of(*nodes, norm("m", "again"), channels=4)
    folded = assert_folded_equals(both, random_tensors(both, 0))
    assert operators(folded) == ["conv2d", "relu", "conv2d"]


def test_names_of_a_network_are_in_no_way_of_what_is_folded() -> None:
    graph = graph_of(conv("folded"), norm("n", "folded"), conv("folded_.5", "n"))
    tensors = random_tensors(graph, 0)
    four = {**tensors, "folded_.5.weight": torch.randn(4, 4, 3, 3).double()}
    assert operators(assert_folded_equals(graph, four)) == ["conv2d", "conv2d"]


def test_what_would_be_too_large_for_its_type_is_not_folded() -> None:
    graph = graph_of(conv("c"), norm("n", "c"))
    tensors = {name: t.half() for name, t in random_tensors(graph, 0).items()}
    assert operators(fold(graph, tensors)[0]) == ["conv2d"]
    tensors["n.running_var"].zero_()
    tensors["n.weight"].fill_(300.0)
    assert operators(fold(graph, tensors)[0]) == ["conv2d", "batch_norm2d"]


def small_network() -> GraphNetwork:
    graph = graph_of(conv("c"), norm("n", "c"), Node("m", "mean", ("n",), {"keepdim": False}))
    return build(graph, random_tensors(graph, 0)).eval()


def halve_in_place(network: GraphNetwork) -> None:
    network.get_parameter("c.weight").mul_(0.5)


def load_other(network: GraphNetwork) -> None:
    network.load_state_dict(random_tensors(network.graph, 1))


def assign_other(network: GraphNetwork) -> None:
    network.load_state_dict(random_tensors(network.graph, 1), assign=True)


def round_to_half(network: GraphNetwork) -> None:
    network.half().double()


def train(network: GraphNetwork) -> None:
    network.train()(3 * images())
    network.eval()


def train_statistics(network: GraphNetwork) -> None:
    network.get_submodule("n").train()
    assert torch.equal(network.predict(images()), network(images()))  # by the batch
    network.get_submodule("n").eval()


def give_other_numbers(network: GraphNetwork) -> None:
    for parameter in network.parameters():
        parameter.data = parameter.data / 2


def train_by_a_fused_optimizer(network: GraphNetwork) -> None:
    parameters = [p for p in network.parameters() if p.is_floating_point()]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, fused=True)
    network.train()
    for norm in (network.get_submodule(name) for name in "mn"):
        norm.training = False  # its statistics are as they were
    with torch.enable_grad():
        network(images()).square().sum().backward()
    optimizer.step()
    network.eval()


CHANGES = [
    *(halve_in_place, load_other, assign_other, round_to_half, train, train_statistics),
    *(give_other_numbers, train_by_a_fused_optimizer),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_predicts_by_what_its_tensors_are_now(
    change: Callable[[GraphNetwork], None],
) -> None:
    network = small_network()
    with torch.no_grad():
        before = network.predict(images())
        change(network)
        found, expected = network.predict(images()), network(images())
    assert not torch.allclose(before, expected, rtol=1e-6)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_predicting_leaves_a_network_as_it_was_to_train_and_to_save() -> None:
    network, other = small_network(), small_network()
    names = list(network.state_dict())
    with torch.inference_mode():
        network.predict(images())
    assert list(network.state_dict()) == names
    assert [name for name, _ in network.named_modules()] == ["", "c", "m", "n"]
    for one in (network.train(), other.train()):
        one.predict(images()).square().sum().backward()  # type: ignore[no-untyped-call]  # torch's; by its own layers, batch by batch
    for name, tensor in other.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    for mine, its in zip(network.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        assert torch.equal(mine.grad, its.grad)


def test_gradients_of_a_network_that_predicts_are_its_own() -> None:
    network = small_network()
    network.predict(images()).sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_copies_of_a_network_predict_by_their_own_tensors() -> None:
    network = small_network()
    with torch.no_grad():
        before = network.predict(images())
        copied = copy.deepcopy(network)
        halve_in_place(copied)
        assert not torch.allclose(copied.predict(images()), before)
        assert torch.equal(network.predict(images()), before)


def test_a_network_without_counts_of_changes_predicts_unfolded() -> None:
    with torch.inference_mode():
        network = small_network()
        network.predict(images())
        halve_in_place(network)
        assert torch.equal(network.predict(images()), network(images()))


@pytest.mark.parametrize("indices", [[2, 0], [0, 2, 3], [1, 2]])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("has_fill", [True, False])
def test_scattered_channels_keep_the_layout_of_the_image(
    indices: list[int], memory_format: torch.memory_format, *, has_fill: bool
) -> None:
    x = images(channels=len(indices)).contiguous(memory_format=memory_format).requires_grad_()
    scatter = ScatterChannels(indices, 5, rank=3, has_fill=has_fill)
    fill = torch.arange(5.0).double()
    if has_fill:
        scatter.fill = fill
    expected = torch.zeros(3, 5, SIZE, SIZE).double()
    expected += fill[:, None, None] if has_fill else 0
    expected[:, indices] = x.detach()
    assert torch.equal(scatter(x), expected)
    assert torch.autograd.gradcheck(scatter, (x,))
    assert has_fill or scatter(x).is_contiguous(memory_format=memory_format)
