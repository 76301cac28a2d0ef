"""A graph executed: values, gradients, copies, and what is overwritten for speed."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from msgspec.structs import replace
from tests.graph.zoo import SENet, create, images
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, GraphNetwork, Node, build, trace
from modpm.core.graph.operators.pooling import Mean
from modpm.core.graph.operators.reshaping import SelectChannels

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.formats.network_graph import AttributeValue

IMAGES_RANK = 4
NORM = {role: f"norm.{role}" for role in ("weight", "bias", "running_mean", "running_var")}


def masked_network() -> GraphNetwork:
    """Return conv → batch norm → mask → relu, the mask made of the image."""
    conv: dict[str, AttributeValue] = {"n_kernels": 4, "groups": 1}
    for name in ("kernel_size", "stride", "padding", "dilation"):
        conv[name] = [3, 3] if name == "kernel_size" else [1, 1]
    nodes = (
        Node("conv", "conv2d", ("x",), conv, {"weight": "conv.weight"}),
        Node("norm", "batch_norm2d", ("conv",), {"eps": 1e-5, "momentum": 0.1}, NORM),
        Node("pool", "mean", ("x",), {"keepdim": False}),
        Node("score", "linear", ("pool",), {"n_features": 4}, {"weight": "score.weight"}),
        Node("mask", "sigmoid", ("score",)),
        Node("masked", "mul", ("norm", "mask")),
        Node("relu", "relu", ("masked",)),
        Node("mean", "mean", ("relu",), {"keepdim": False}),
    )
    torch.manual_seed(0)
    tensors = {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "score.weight": torch.randn(4, 3),
        "norm.weight": torch.rand(4),
        "norm.bias": torch.randn(4),
        "norm.running_mean": torch.randn(4),
        "norm.running_var": torch.rand(4) + 0.5,
    }
    graph = Graph("x", (3, 8, 8), nodes, "mean")
    return build(graph, {name: tensor.double() for name, tensor in tensors.items()})


def batch() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.double)
    return x.to(memory_format=torch.channels_last)


def test_the_gradient_of_a_mean_is_that_of_finite_differences() -> None:
    x = batch()[:2, :, :3, :3].requires_grad_()
    for keepdim in (True, False):
        assert torch.autograd.gradcheck(Mean(keepdim=keepdim), (x,))


def test_a_mean_is_that_of_torch_whether_its_gradient_is_wanted_or_not() -> None:
    x = batch()[:, :, :5]
    for keepdim in (True, False):
        for value in (x, x.clone().requires_grad_()):
            expected = x.mean((2, 3), keepdim=keepdim)
            torch.testing.assert_close(Mean(keepdim=keepdim)(value).detach(), expected)


@pytest.mark.parametrize("indices", [[2, 0], [1, 2], [0, 2, 2], [2]])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_selected_channels_keep_the_layout_of_the_image(
    indices: list[int], memory_format: torch.memory_format
) -> None:
    x = batch()[:2, :, :5].contiguous(memory_format=memory_format).requires_grad_()
    select = SelectChannels(indices, 3)
    assert torch.equal(select(x), x[:, indices])
    assert torch.autograd.gradcheck(select, (x,))
    if select.run is None:
        assert select(x).is_contiguous(memory_format=memory_format)


def residual_network() -> GraphNetwork:
    """Return two masked branches of one image, whose sum is relu'd and added to another value."""
    network = masked_network()
    nodes = [node for node in network.graph.nodes if node.name not in {"relu", "mean"}]
    other = {role: f"other.{role}" for role in NORM}
    nodes += [
        Node("other", "batch_norm2d", ("conv",), {"eps": 1e-5, "momentum": 0.1}, other),
        Node("other_masked", "mul", ("mask", "other")),
        Node("total", "add", ("other_masked", "masked")),
        Node("relu", "relu", ("total",)),
        Node("again", "add", ("relu", "conv")),
        Node("mean", "mean", ("again",), {"keepdim": False}),
    ]
    tensors = network.state_dict()
    tensors |= {name: tensors[NORM[role]].flip(0) for role, name in other.items()}
    return build(Graph("x", network.graph.input_shape, tuple(nodes), "mean"), tensors)


@pytest.mark.parametrize("make", [masked_network, residual_network])
def test_values_that_are_overwritten_train_as_plain_ones_do(
    make: Callable[[], GraphNetwork],
) -> None:
    fast_one, plain = make(), make()
    plain._plans[("mean",), (), True] = plain._plan(("mean",), (), is_fast=False)
    fast = fast_one._plan(("mean",), (), is_fast=True)
    assert torch.relu_ in [step.layer for step in fast]
    for network in (fast_one, plain):
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            network(batch()).square().sum().backward()
            optimizer.step()
    for name, tensor in fast_one.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name])


@pytest.mark.parametrize(
    "changed",
    [
        [Node("masked", "sigmoid", ("norm",))],
        [
            Node("norm", "select_channels", ("conv",), {"indices": [0, 1, 2, 3]}),
            Node("masked", "relu", ("norm",)),
            Node("relu", "add", ("masked", "conv")),
        ],
        [Node("masked", "mul", ("norm", "norm"))],
        [Node("masked", "mul", ("norm", "conv"))],
        [Node("masked", "add", ("norm", "mask"))],
        [Node("masked", "mul", ("conv", "mask")), Node("relu", "add", ("masked", "norm"))],
        [Node("relu", "add", ("masked", "norm"))],
        [Node("relu", "add", ("masked", "masked"))],
        [Node("relu", "add", ("masked", "mask"))],
        [Node("relu", "sub", ("conv", "masked"))],
        [Node("relu", "mul", ("masked", "conv"))],
        [Node("mean", "add", ("relu", "masked"))],
    ],
    ids=lambda changed: "; ".join(f"{n.name} = {n.operator}{n.inputs}" for n in changed),
)
def test_masks_and_sums_of_any_kind_give_what_each_node_gives(changed: list[Node]) -> None:
    network = masked_network()
    others = {node.name: node for node in changed}
    nodes = tuple(others.get(node.name, node) for node in network.graph.nodes)
    named = {name for node in nodes for name in node.tensors.values()}
    tensors = {name: tensor for name, tensor in network.state_dict().items() if name in named}
    made = build(Graph("x", network.graph.input_shape, nodes, "mean"), tensors)
    plain = copy.deepcopy(made)
    plain._plans[("mean",), (), True] = plain._plan(("mean",), (), is_fast=False)
    values = [one.train()(batch()) for one in (made, plain)]
    torch.testing.assert_close(*values)
    sum(value.square().sum() for value in values).backward()
    for one, two in zip(made.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_a_run_gives_every_value_that_is_asked_for() -> None:
    network = masked_network().eval()
    names = [node.name for node in network.graph.nodes]
    with torch.no_grad():
        together = network.run(batch(), names)
        for name in names:
            torch.testing.assert_close(network.run(batch(), (name,))[name], together[name])
    torch.testing.assert_close(together["relu"], together["masked"].relu())


def test_a_scale_multiplies_a_value_as_it_is_computed() -> None:
    network = masked_network().eval()
    channels = torch.tensor([1.0, 0.0, 2.0, 1.0]).double()
    with torch.no_grad():
        plain = network.run(batch(), ("norm", "mean"))
        scaled = network.run(batch(), ("norm", "mean"), {"norm": channels})
    torch.testing.assert_close(scaled["norm"], plain["norm"] * channels[:, None, None])
    assert not scaled["mean"][:, 1].any()


def test_no_value_of_a_run_is_overwritten() -> None:
    network = masked_network().train()
    values = network.run(batch(), ("conv", "norm", "masked", "relu"))
    assert (values["masked"] < 0).any()
    assert (values["norm"] < 0).any()


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(ModpmError) as refusal:
        masked_network().run(batch(), ("nothing",))
    assert refusal.value.code == "unknown-node"


def test_the_state_dict_has_the_graphs_tensor_names() -> None:
    graph, tensors = trace(create("odd_names"), images())
    network = build(graph, tensors)
    assert network.state_dict().keys() == tensors.keys()
    network.load_state_dict(tensors)


def test_a_copy_is_independent() -> None:
    network = masked_network().eval()
    with torch.no_grad():
        before = network(batch())
        other = copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.zero_()
        torch.testing.assert_close(other(batch()), before)


def test_the_tensors_that_build_was_given_are_not_trained() -> None:
    graph, tensors = trace(create("senet"), images())
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    network = build(graph, tensors).train()
    network(images()).sum().backward()
    torch.optim.SGD(network.parameters(), 1.0).step()
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_values_stay_channels_last() -> None:
    network = masked_network()
    values = network.run(batch(), ("conv", "norm", "masked", "relu"))
    assert all(v.is_contiguous(memory_format=torch.channels_last) for v in values.values())


def test_a_network_exports_to_a_program_of_torchs_own_operators() -> None:
    network = masked_network().eval()
    program = torch.export.export(network, (batch(),))
    torch.testing.assert_close(program.module()(batch()), network(batch()))


def test_a_network_is_traced_again_from_its_graph() -> None:
    graph, tensors = trace(create("efficientnet"), images())
    again, same = trace(build(graph, tensors), images())
    torch.testing.assert_close(
        build(again, same).eval()(images()), build(graph, tensors).eval()(images())
    )
    assert again.kernels() == graph.kernels()


def test_tracing_leaves_the_network_as_it_was() -> None:
    network = SENet().train()
    network.stem.eval()
    before = copy.deepcopy(network.state_dict())
    trace(network, torch.randn(1, 3, 16, 16))
    assert network.training
    assert not network.stem.training
    assert network.se.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("node", ["conv", "norm", "masked", "relu", "mean"])
@pytest.mark.parametrize("shape", [(4, 4), (4,), (1, 4)])
def test_values_that_are_scaled_are_so_in_place_or_not(shape: tuple[int, ...], node: str) -> None:
    in_place, plain = residual_network().train(), residual_network().train()
    plain.load_state_dict(in_place.state_dict())
    plain._plans[("mean",), (node,), True] = plain._plan(("mean",), (node,), is_fast=False)
    factors = torch.rand(shape)
    found = []
    for network in (in_place, plain):
        factor = factors.clone().requires_grad_()
        value = network.run(batch(), ("mean",), {node: factor})["mean"]
        trained = [factor, *network.parameters()]
        found.append([value, *torch.autograd.grad(value.square().sum(), trained)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


class Calls(TorchDispatchMode):
    """Notes the shapes of what torch's operators read first, by their names."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Note a call, and make it."""
        if isinstance(args[0], Tensor):
            self.shapes.setdefault(func.overloadpacket.__name__, []).append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))

    def of_images(self, *names: str) -> list[tuple[int, ...]]:
        """Return the shapes that some operators read of images."""
        shapes = [shape for name in names for shape in self.shapes.get(name, [])]
        return [shape for shape in shapes if len(shape) == IMAGES_RANK]


def plain_network() -> GraphNetwork:
    """Return conv → batch norm → relu."""
    network = masked_network()
    conv, norm, *_, relu, mean = network.graph.nodes
    nodes = conv, norm, replace(relu, inputs=("norm",)), mean
    return build(replace(network.graph, nodes=nodes), network.state_dict())


@pytest.mark.parametrize(
    ("create_network", "node", "n_products"),
    [
        (plain_network, "norm", 2),  # no gradient passes the relu where it is 0
        (plain_network, "conv", 2 + 4),
        (plain_network, "relu", 4 + 4),  # its gradient reads it: it is not overwritten
        (residual_network, "conv", 2 + 4),
    ],
)
def test_a_mask_of_the_last_images_is_a_factor_that_is_1_for_the_others(
    create_network: Callable[[], GraphNetwork], node: str, n_products: int
) -> None:
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    whole = torch.cat([torch.ones(2, 4), mask.float()]).double()
    found = []
    for factor, is_fast in itertools.product((mask, whole, None), (True, False)):
        network = create_network().train()
        scale = None if factor is None else {node: factor}
        scaled = () if factor is None else (node,)
        network._plans[("mean",), scaled, True] = network._plan(("mean",), scaled, is_fast=is_fast)
        with Calls() as calls:
            value = network.run(batch(), ("mean",), scale)["mean"]
            gradients = torch.autograd.grad(value.square().sum(), list(network.parameters()))
        n_multiplied = sum(shape[0] for shape in calls.of_images("mul", "mul_"))
        found.append((n_multiplied, [value, *gradients]))
    masked, masked_plainly, factored, factored_plainly, unscaled, _ = found
    assert masked[0] - unscaled[0] == n_products
    assert all(map(torch.equal, masked[1], factored[1]))
    assert all(map(torch.equal, masked_plainly[1], factored_plainly[1]))
    assert not torch.equal(masked[1][0], unscaled[1][0])


def pooled_network(**attributes: AttributeValue) -> GraphNetwork:
    """Return conv → batch norm → relu → pool, and a mean of it."""
    network = plain_network()
    conv, norm, relu, mean = network.graph.nodes
    window: dict[str, AttributeValue] = {
        "kernel_size": [3, 3],
        "stride": [2, 2],
        "dilation": [1, 1],
    }
    pool = Node("pool", "max_pool2d", ("relu",), window | attributes)
    nodes = conv, norm, relu, pool, replace(mean, inputs=("pool",))
    return build(replace(network.graph, nodes=nodes), network.state_dict())


@pytest.mark.parametrize("is_wanted", [True, False])
@pytest.mark.parametrize("padding", [[0, 0], [1, 1]])
@pytest.mark.parametrize("ceil_mode", [True, False])
def test_a_relu_before_a_pool_reads_what_the_pool_has_left(
    padding: list[int], *, ceil_mode: bool, is_wanted: bool
) -> None:
    names = ("mean", "pool", *(("relu",) if is_wanted else ()))
    found = []
    for is_fast in (True, False):
        network = pooled_network(padding=padding, ceil_mode=ceil_mode).train()
        network._plans[names, (), True] = network._plan(names, (), is_fast=is_fast)
        with Calls() as calls:
            values = network.run(batch(), names)
            loss = values["mean"].square().sum() + values["pool"].sum()
            gradients = torch.autograd.grad(loss, list(network.parameters()))
        found.append((calls.of_images("relu", "relu_"), [*values.values(), *gradients]))
    (shapes, fast), (plain_shapes, plain) = found
    assert plain_shapes == [(4, 4, 8, 8)]
    assert shapes == (plain_shapes if is_wanted else [fast[1].shape])
    assert all(map(torch.equal, fast, plain))


def summing_network(inputs: tuple[str, str], source: str) -> GraphNetwork:
    """Return conv → batch norm → relu, and the sum of that and another convolution."""
    network = plain_network()
    conv, norm, relu, _ = network.graph.nodes
    other = replace(conv, name="other", inputs=(source,), tensors={"weight": "other.weight"})
    pixel = Node("pixel", "mean", ("x",), {"keepdim": True})
    total = Node("total", "add", inputs)
    graph = replace(network.graph, nodes=(conv, norm, relu, pixel, other, total), output="total")
    return build(graph, network.state_dict() | {"other.weight": torch.randn(4, 3, 3, 3).double()})


@pytest.mark.parametrize("inputs", [("relu", "other"), ("other", "relu")])
@pytest.mark.parametrize("source", ["x", "pixel"])
def test_a_sum_is_written_over_a_value_that_it_alone_reads(
    inputs: tuple[str, str], source: str
) -> None:
    found = []
    for is_fast in (True, False):
        network = summing_network(inputs, source).train()
        network._plans[("total",), (), True] = network._plan(("total",), (), is_fast=is_fast)
        with Calls() as calls:
            value = network(batch())
            gradients = torch.autograd.grad(value.square().sum(), list(network.parameters()))
        found.append([value, *gradients])
        is_over = is_fast and source == "x"  # not over one pixel, which is narrower
        assert calls.of_images("add_") == ([(4, 4, 8, 8)] if is_over else [])
    assert all(map(torch.equal, *found))


def test_factors_of_more_images_than_there_are_make_as_many_values() -> None:
    network, factors = masked_network().eval(), torch.rand(4, 4)
    values = network.run(batch()[:1], ("norm",), {"norm": factors})["norm"]
    plain = network.run(batch()[:1], ("norm",))["norm"]
    torch.testing.assert_close(values, plain * factors[:, :, None, None])


def test_values_keep_their_precision_when_they_are_scaled() -> None:
    network = masked_network().float()
    with torch.autocast("cpu", torch.bfloat16):
        scaled = network.run(batch().float(), ("conv",), {"conv": torch.ones(4)})["conv"]
    assert scaled.dtype == torch.bfloat16
