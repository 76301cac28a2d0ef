"""What a network does in training, and for any number of images, is kept or refused."""

from __future__ import annotations

import inspect
import math
import random
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, build, trace
from modpm.core.slicing import mask_network, slice_graph

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (3, 8, 8)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.again, self.linear = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def head(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def traced(network: nn.Module) -> tuple[Graph, dict[str, Tensor]]:
    return trace(network, torch.zeros(2, *SHAPE))


def refusal_of(network: nn.Module) -> ModpmError:
    with pytest.raises(ModpmError) as refusal:
        traced(network)
    return refusal.value


def line_of(kind: type[nn.Module]) -> str:
    lines, start = inspect.getsourcelines(kind)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if '# here' in line)}"


def operators_of(network: nn.Module) -> list[str]:
    return [node.operator for node in traced(network)[0].nodes]


def assert_equal(network: nn.Module) -> GraphAndTensors:
    graph, tensors = traced(network)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        expected = network.eval()(images)
        torch.testing.assert_close(build(graph, tensors).eval()(images), expected)
    return graph, tensors


GraphAndTensors = tuple[Graph, dict[str, Tensor]]


class DropsAlways(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(F.dropout(x))  # here


class DropsNever(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout2d(F.dropout(self.conv(x), 0.5, training=False), training=False))


class StochasticDepth(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.again(x)
        if self.training:
            kept = torch.rand(len(x), 1, 1, 1)  # here
            y = y * kept
        return self.head(x + y)


class StochasticDepthByBernoulli(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.again(x)
        if self.training:
            kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(0.8)  # here
            y = y * kept
        return self.head(x + y)


class StochasticDepthOfPython(Network):
    def forward(self, x: Tensor) -> Tensor:  # here
        x = self.conv(x)
        if self.training and random.random() < 0.5:  # noqa: S311 - no secret
            return self.head(x)
        return self.head(x + self.again(x))


class StochasticDepthOfNumPy(Network):
    def forward(self, x: Tensor) -> Tensor:  # here
        x = self.conv(x)
        if self.training and np.random.rand() < 0.5:  # noqa: NPY002 - as people write it
            return self.head(x)
        return self.head(x + self.again(x))


class OwnStandardization(Network):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std(
            (1, 2, 3), keepdim=True
        )
        return self.head(F.conv2d(x, weight))  # here


class GatedByParameter(Network):
    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.linear.bias[:4]).view(1, 4, 1, 1)
        return self.head(self.conv(x) * gate)  # here


class WithoutGradients(Network):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.conv(x)  # here
        return self.head(x)


class Detached(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(x.detach())  # here


class EvaluatesOtherwise(Network):
    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.conv(x))
        if not self.training:
            logits = logits.sigmoid()  # here
        return logits


class CountsImages(Network):
    def forward(self, x: Tensor) -> Tensor:
        many = len(x) > 2
        x = self.conv(x)
        if many:
            x = self.norm(x)  # here
        return self.head(x)


class OneImageIsOther(Network):
    def forward(self, x: Tensor) -> Tensor:
        one = len(x) == 1
        x = self.conv(x)
        if one:
            x = x.relu()  # here
        return self.head(x)


class TwoImagesOnly(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x.view(2, 4, -1)  # here
        logits: Tensor = self.linear(x.mean(2))
        return logits


class KeepsState(Network):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2, 4, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.get_buffer("seen").copy_(x)  # here
        return self.head(x)


class Positions(Network):
    """A parameter for pixels, that is zero at first."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(shape or (6,)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(x + self.position)  # here


class TiedWeights(Network):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.other.weight = self.again.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.conv(x))
        return self.head(self.other(x))  # here


class OneWeightInTwoStrides(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.conv(x))
        return self.head(F.conv2d(x, self.again.weight, self.again.bias, stride=2))  # here


class OnePartEach(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        parts = [F.conv2d(x, part, padding=1) for part in self.again.weight.chunk(2)]  # here
        return self.head(torch.cat(parts, 1))


class Counting(Network):
    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        return self.head(self.conv(x) * self.n_calls)


class ComplexNumbers(Network):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("phase", torch.ones(4, 1, 1, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.conv(x) * self.phase).real)  # here


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (DropsAlways, "untraceable-network", "random in evaluation"),
        (StochasticDepth, "unsupported-operator", "random numbers"),
        (StochasticDepthByBernoulli, "untraceable-network", "`new_empty`"),
        (StochasticDepthOfPython, "unsupported-control-flow", "draws by chance"),
        (StochasticDepthOfNumPy, "unsupported-control-flow", "draws by chance"),
        (OwnStandardization, "unsupported-operator", "the parameter `conv.weight`"),
        (GatedByParameter, "unsupported-operator", "the parameter `linear.bias`"),
        (WithoutGradients, "unsupported-operator", "without gradients"),
        (Detached, "unsupported-operator", "gradients"),
        (EvaluatesOtherwise, "untraceable-network", "`sigmoid`"),
        (CountsImages, "unsupported-control-flow", "for 5 images than for 2"),
        (OneImageIsOther, "unsupported-control-flow", "for 1 images than for 2"),
        (TwoImagesOnly, "unsupported-control-flow", "for 5 images than for 2"),
        (KeepsState, "unsupported-operator", "`seen`"),
        (Positions, "unsupported-operator", "several of the pixels"),
        (TiedWeights, "unsupported-operator", "parted"),
        (OneWeightInTwoStrides, "unsupported-operator", "`again.weight`"),
        (OnePartEach, "unsupported-operator", "parted"),
        (ComplexNumbers, "unsupported-operator", "complex"),
    ],
)
def test_what_a_graph_would_not_do_in_training_is_refused_with_its_line(
    kind: type[nn.Module], code: str, said: str
) -> None:
    error = refusal_of(kind())
    assert (error.code, error.where) == (code, line_of(kind))
    assert said in f"{error.what} {error.why} {error.hint}"


class Ordinary(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # here
        return self.head(x)


def weight_norm(network: Network) -> None:
    parametrizations.weight_norm(network.conv)


def spectral_norm(network: Network) -> None:
    parametrizations.spectral_norm(network.conv)


def hooked_weight_norm(network: Network) -> None:
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(network.conv)


def hooked_spectral_norm(network: Network) -> None:
    nn.utils.spectral_norm(network.conv)


def orthogonal(network: Network) -> None:
    network.conv.weight.data = torch.rand(4, 3, 3, 3)
    parametrizations.orthogonal(network.conv)


@pytest.mark.parametrize(
    "normalize",
    [weight_norm, spectral_norm, hooked_weight_norm, hooked_spectral_norm, orthogonal],
)
def test_a_weight_that_is_normalized_is_refused_with_the_line_that_calls_its_layer(
    normalize: Callable[[Network], None],
) -> None:
    network = Ordinary()
    normalize(network)
    error = refusal_of(network)
    assert (error.code, error.where) == ("unsupported-operator", line_of(Ordinary))
    assert error.hint is not None


def test_a_pruned_weight_is_refused() -> None:
    network = Ordinary()
    prune.random_unstructured(network.conv, "weight", 0.5)  # type: ignore[no-untyped-call]  # torch's
    error = refusal_of(network)
    assert error.where == line_of(Ordinary)
    assert "conv.weight_orig" in str(error.why)


class Averaging(Network):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(self.norm(x))  # here


def test_a_batch_norm_that_averages_over_all_batches_is_refused() -> None:
    error = refusal_of(Averaging())
    assert (error.code, error.where) == ("unsupported-operator", line_of(Averaging))
    assert "momentum" in str(error.hint)


def test_a_network_that_keeps_a_state_is_refused() -> None:
    error = refusal_of(Counting())
    assert error.code == "untraceable-network"
    assert "keeps a state" in str(error.hint)


def test_a_dropout_that_is_off_in_training_is_no_node() -> None:
    assert not {"dropout", "dropout_channels"} & set(operators_of(DropsNever()))


class DropsImages(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training:
            x = x * x.new_empty(len(x), 1, 1, 1).bernoulli_(0.25).div_(0.25)
        return x.mean((2, 3))


def test_images_are_dropped_in_training_as_the_network_drops_them() -> None:
    network = build(*traced(DropsImages())).eval()
    images = torch.randn(400, 3, 8, 8, dtype=torch.double)
    torch.manual_seed(0)
    with torch.no_grad():
        whole, left = network(images), network.train()(images)
    is_dropped = (left == 0).all(1)
    assert 0.65 < float(is_dropped.double().mean()) < 0.85
    torch.testing.assert_close(left[~is_dropped], 4 * whole[~is_dropped])


@pytest.mark.parametrize(
    ("shape", "operator"), [((1, 4, 6, 6), "pixel_affine"), ((4, 1, 1), "channel_affine")]
)
def test_a_parameter_that_is_zero_at_first_is_read_by_its_shape(
    shape: tuple[int, ...], operator: str
) -> None:
    graph, tensors = traced(Positions(*shape))
    (name,) = (node.tensors["bias"] for node in graph.nodes if node.operator == operator)
    assert tensors[name].numel() == math.prod(shape)


class FrozenNorm(Network):
    """A normalization that stays in evaluation mode, as people freeze it."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)))


def test_a_batch_norm_that_is_frozen_in_training_is_the_same_in_training() -> None:
    network = FrozenNorm()
    nn.init.uniform_(network.norm.running_mean)  # type: ignore[arg-type]  # it has one
    graph, tensors = assert_equal(network)
    assert "batch_norm2d" not in {node.operator for node in graph.nodes}
    images = torch.randn(4, *SHAPE)
    torch.testing.assert_close(build(graph, tensors).train()(images), network.train()(images))


class AuxiliaryHead(Network):
    def forward(self, x: Tensor) -> object:
        x = self.conv(x)
        logits = self.head(x)
        return (logits, self.linear(x.amax((2, 3)))) if self.training else logits


class Cloned(Network):
    """A copy that is changed in place; what it was copied from is read afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = x.clone()
        y.relu_()
        y += 1
        return self.head(x * y)


class LargerOfTwo(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = torch.max(x, self.again(x))
        return self.head(torch.minimum(y, self.norm(x)) + torch.maximum(y, x.mean((2, 3), True)))


class LargerThanNumbers(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = torch.max(self.conv(x), torch.tensor(0.0))
        return self.head(torch.minimum(x, torch.tensor(0.5)).float())


class SharedParameters(Network):
    """One slope and one scale, called for again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.scale = nn.PReLU(), nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x)) * self.scale
        return self.head(self.act(self.again(x)) * self.scale)


def odd_names() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            [
                ("conv-1", nn.Conv2d(3, 4, 3)),
                ("conv_1", nn.Conv2d(4, 4, 1)),
                ("a b/ü", nn.BatchNorm2d(4)),
                ("conv+1", nn.Conv2d(4, 4, 1)),
                ("x" * 300, nn.Conv2d(4, 4, 1)),
                ("flat-ten", nn.Flatten()),
            ]
        )
    )


@pytest.mark.parametrize(
    "make",
    [AuxiliaryHead, Cloned, LargerOfTwo, LargerThanNumbers, SharedParameters, odd_names, Ordinary],
)
def test_what_torch_allows_is_read_as_it_is(make: Callable[[], nn.Module]) -> None:
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type]  # it has one
    graph, tensors = assert_equal(network)
    retained = {name: list(range(0, size, 2)) for name, size in graph.kernels().items()}
    sliced, images = slice_graph(graph, tensors, retained), torch.randn(2, *SHAPE)
    with torch.no_grad():
        masked = mask_network(graph, tensors, retained).eval()(images)
        torch.testing.assert_close(build(*sliced).eval()(images), masked, rtol=1e-4, atol=1e-5)


def test_shared_parameters_stay_shared() -> None:
    graph, tensors = traced(SharedParameters())
    assert (
        len([name for name in tensors if tensors[name].shape == (4,)]) == 4
    )  # two biases, act, scale
    assert len(graph.nodes) > len({tuple(node.tensors.values()) for node in graph.nodes})


def test_a_layer_whose_name_has_other_characters_is_called_by_the_others() -> None:
    graph, tensors = traced(odd_names())
    assert [node.name for node in graph.nodes][:4] == ["conv_1_", "conv_1", "a_b__", "conv_1__"]
    assert "a_b__.running_mean" in tensors


def test_the_numbers_of_the_example_do_not_matter() -> None:
    graphs = [
        trace(Ordinary(), filled)[0] for filled in (torch.zeros(1, *SHAPE), torch.rand(3, *SHAPE))
    ]
    assert graphs[0] == graphs[1]


class Mistaken(Network):
    """Its batch norm and its residual are the identity until they are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(4, 1, 1))
        self.factor = float(self.gamma.detach().sum())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.norm(x) if self.training else x  # here
        return self.head(y + x * self.gamma)


def test_a_batch_norm_that_is_the_identity_is_looked_at_all_the_same() -> None:
    error = refusal_of(Mistaken())
    assert error.what == "the network does something else in evaluation than in training"
    assert error.where == line_of(Mistaken)


class Talking(Network):
    def forward(self, x: Tensor) -> Tensor:
        print("shape", tuple(x.shape))  # noqa: T201 - as people look at it
        return self.head(self.conv(x))


class DecidingByNumbers(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.mean() > 0:  # here
            return self.head(x)
        return self.head(-x)


def test_what_a_network_prints_goes_to_where_errors_go(capfd: pytest.CaptureFixture[str]) -> None:
    traced(Talking())
    out, err = capfd.readouterr()
    assert out == ""
    assert "shape" in err


def test_torch_says_nothing_before_a_refusal(capfd: pytest.CaptureFixture[str]) -> None:
    assert refusal_of(DecidingByNumbers()).where == line_of(DecidingByNumbers)
    assert capfd.readouterr() == ("", "")


class Exiting(Network):
    def forward(self, _x: Tensor) -> Tensor:
        raise SystemExit(3)  # here


def test_a_network_that_exits_is_refused() -> None:
    error = refusal_of(Exiting())
    assert (error.code, error.where) == ("untraceable-network", line_of(Exiting))


def test_tracing_changes_no_statistic_and_no_random_number() -> None:
    network, state = FrozenNorm(), torch.get_rng_state()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
    twice = nn.Conv2d(3, 3, 3)
    for one in (network, plain, nn.Sequential(twice, nn.ReLU(), twice, nn.Flatten())):
        before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
        parameters = list(one.parameters())
        torch.set_rng_state(state)
        traced(one)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(one is two for one, two in zip(one.parameters(), parameters, strict=True))
        assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())
