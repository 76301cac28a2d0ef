"""Networks that no graph expresses are refused, with the line of the user's code."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.errors import ModpmError
from modpm.core.graph import trace


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Sorting(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x.sort(1).values  # here


class Transposed(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.conv_transpose2d(x, self.conv.weight)  # here


class Batch(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (x - x.mean(0)).mean((2, 3))  # here


class DrawnBatch(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.empty(1, 1, 1, 1).bernoulli_(0.5)  # here


class AddedChance(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + x.new_empty(len(x), 1, 1, 1).bernoulli_(0.5)  # here


class Bilinear(Network):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear")  # here


class Attending(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).sort(2).values
        return F.scaled_dot_product_attention(x, x, x)  # here


class AttendingByHand(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).sort(2).values
        shares = F.dropout((x @ x.transpose(1, 2)).softmax(-1), 0.1, self.training)
        return shares @ x  # here


class RowOfParameters(Network):
    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.row  # here


class Deciding(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.mean() > 0:  # here
            return x
        return -x


class Failing(Network):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.conv.weight)  # here


class Two(Network):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x


class Constant(Network):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 3) + self.conv.weight.mean()


def refusal_of(network: nn.Module, example: Tensor | None = None) -> ModpmError:
    with pytest.raises(ModpmError) as refusal:
        trace(network, torch.randn(1, 3, 8, 8) if example is None else example)
    return refusal.value


def line_of(kind: type[nn.Module]) -> str:
    lines, start = inspect.getsourcelines(kind)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if '# here' in line)}"


@pytest.mark.parametrize(
    ("kind", "operator"),
    [
        (Sorting, "aten.sort"),
        (Transposed, "aten.conv_transpose2d"),
        (Batch, "aten.mean"),
        (DrawnBatch, "aten.mul.Tensor"),
        (AddedChance, "aten.add.Tensor"),
        (Bilinear, "aten.upsample_bilinear2d"),
        (RowOfParameters, "aten.add.Tensor"),
    ],
)
def test_an_operator_that_no_graph_has_is_refused_with_its_line(
    kind: type[nn.Module], operator: str
) -> None:
    error = refusal_of(kind())
    assert error.code == "unsupported-operator"
    assert f"`{operator}" in error.what
    assert error.where == line_of(kind)


@pytest.mark.parametrize("kind", [Attending, AttendingByHand])
def test_a_network_of_attention_is_refused_in_one_sentence(kind: type[nn.Module]) -> None:
    error = refusal_of(kind())
    assert error.code == "unsupported-operator"
    assert "attention, as transformers are," in error.what
    assert (error.where, error.why) == (line_of(kind), None)


def test_a_decision_by_the_images_numbers_is_refused_with_its_line() -> None:
    error = refusal_of(Deciding())
    assert error.code == "unsupported-control-flow"
    assert error.where == line_of(Deciding)


def test_a_network_that_fails_is_refused_with_its_line() -> None:
    error = refusal_of(Failing())
    assert error.code == "untraceable-network"
    assert error.where == line_of(Failing)


def test_a_network_of_two_outputs_is_refused() -> None:
    assert refusal_of(Two()).code == "unsupported-output"


def test_a_network_that_does_not_look_at_the_image_is_refused() -> None:
    assert refusal_of(Constant()).code in {"unsupported-operator", "untraceable-network"}


@pytest.mark.parametrize(
    "example", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_an_example_that_is_no_batch_of_images_is_refused(example: Tensor) -> None:
    assert refusal_of(Sorting(), example).code == "bad-example"


def test_a_refused_network_is_left_as_it_was() -> None:
    network = Sorting().train()
    refusal_of(network)
    assert network.training
    assert network.conv.training
