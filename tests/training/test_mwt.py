from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, build, infer_shapes, trace
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.mwt import (
    Mwt,
    attach_mask_generators,
    hidden_size,
    mask_nodes,
)
from modpm.core.training.similarity import contrastive_loss, modular_losses

GENERATOR = ".mask_generator."


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(graph: Graph, n: int = 5) -> Tensor:
    return torch.randn(n, *graph.input_shape, generator=seeded(3))


class Branches(nn.Module):
    """A stem read by two, a depthwise layer, squeeze and excite, a classifier of 1 x 1 kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.shared = nn.Conv2d(8, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.squeeze = nn.Conv2d(6, 4, 1)
        self.excite = nn.Conv2d(4, 6, 1)
        self.classifier = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shared(torch.relu(self.stem(x)))
        x = self.depthwise(torch.relu(self.norm(shared))) + shared
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        logits: Tensor = self.classifier(x * weights).mean((2, 3))
        return logits


def branches() -> tuple[Graph, dict[str, Tensor]]:
    torch.manual_seed(0)
    return trace(Branches(), torch.zeros(2, 3, 8, 8))


def digits_network() -> tuple[Graph, dict[str, Tensor]]:
    torch.manual_seed(0)
    return trace(create("digits_cnn", 10, 1), torch.zeros(2, 1, 8, 8))


def test_masks_are_what_the_paper_says() -> None:
    graph, tensors = attach_mask_generators(*digits_network(), generator=seeded())
    network = build(graph, tensors).eval()
    for conv, mask in mask_nodes(graph).items():
        product = graph.node(f"{conv}.masked")
        source, value = graph.node(conv).inputs[0], product.inputs[0]
        values = network.run(images(graph), (source, value, mask, product.name))
        hidden = linear(
            values[source].mean((2, 3)), tensors[f"{conv}.mask_generator.hidden.weight"]
        )
        score = linear(
            hidden.relu(),
            tensors[f"{conv}.mask_generator.score.weight"],
            tensors[f"{conv}.mask_generator.score.bias"],
        )
        torch.testing.assert_close(values[mask], score.tanh().relu())
        torch.testing.assert_close(
            values[product.name], values[value] * values[mask][..., None, None]
        )
        assert graph.node(value).operator == "batch_norm2d"


def test_every_reader_of_a_masked_value_reads_it_masked() -> None:
    graph, _ = attach_mask_generators(*digits_network(), generator=seeded())
    for conv in mask_nodes(graph):
        value = graph.node(f"{conv}.masked").inputs[0]
        assert [n.name for n in graph.nodes if value in n.inputs] == [f"{conv}.masked"]


def test_all_convolutions_but_the_first_have_a_generator() -> None:
    graph, _ = trace(create("resnet20", 10), torch.zeros(2, 3, 32, 32))
    names = list(cuttable_convolutions(graph))
    assert names == list(graph.kernels())[1:]


def test_depthwise_pooled_and_logit_convolutions_have_none() -> None:
    graph, _ = branches()
    assert cuttable_convolutions(graph) == {"shared": "shared"}


def test_a_convolution_with_several_readers_is_masked_itself() -> None:
    graph, tensors = attach_mask_generators(*branches(), generator=seeded())
    assert graph.node("shared.masked").inputs[0] == "shared"
    assert sum("shared.masked" in node.inputs for node in graph.nodes) == 2
    assert build(graph, tensors)(images(graph)).shape == (5, 3)


@pytest.mark.parametrize(("n_kernels", "n_hidden"), [(16, 16), (127, 127), (128, 64), (512, 256)])
def test_wide_layers_have_half_as_many_hidden_units(n_kernels: int, n_hidden: int) -> None:
    assert hidden_size(n_kernels) == n_hidden


def test_generators_start_with_kaiming_normal_weights_and_a_bias_of_one() -> None:
    torch.manual_seed(0)
    plain = trace(create("small_vgg", 10), torch.zeros(2, 3, 32, 32))
    graph, tensors = attach_mask_generators(*plain, generator=seeded())
    last = list(mask_nodes(graph))[-1]
    weight = tensors[f"{last}.mask_generator.hidden.weight"]
    assert weight.std().item() == pytest.approx((2 / weight.shape[1]) ** 0.5, rel=0.05)
    assert torch.equal(tensors[f"{last}.mask_generator.score.bias"], torch.ones(128))


def test_the_same_generator_of_chance_gives_the_same_weights() -> None:
    first = attach_mask_generators(*digits_network(), generator=seeded(4))[1]
    again = attach_mask_generators(*digits_network(), generator=seeded(4))[1]
    other = attach_mask_generators(*digits_network(), generator=seeded(5))[1]
    for name in (name for name in first if GENERATOR in name):
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], other[name]) == name.endswith("score.bias")


def test_other_tensors_stay_as_they_are() -> None:
    plain_graph, plain = digits_network()
    _, tensors = attach_mask_generators(plain_graph, plain, generator=seeded())
    assert set(plain) == {name for name in tensors if GENERATOR not in name}
    assert all(torch.equal(tensors[name], plain[name]) for name in plain)


def test_shapes_of_the_graph_hold() -> None:
    graph, _ = attach_mask_generators(*digits_network(), generator=seeded())
    shapes = infer_shapes(graph)
    assert all(shapes[mask] == (graph.kernels()[conv],) for conv, mask in mask_nodes(graph).items())


def test_a_network_without_a_second_convolution_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    with pytest.raises(ModpmError) as refusal:
        attach_mask_generators(*trace(network, torch.zeros(2, 1, 8, 8)), generator=seeded())
    assert refusal.value.code == "nothing-to-modularize"


def test_mwt_minimizes_the_sum_that_the_paper_says() -> None:
    graph, tensors = attach_mask_generators(*digits_network(), generator=seeded())
    settings = {"alpha": 0.25, "beta": 2.0}
    mwt = Mwt(build(graph, tensors), Task(n_classes=10, retention=0.3, settings=settings)).train()
    batch, labels = images(graph, 12), torch.arange(12) % 3
    losses = mwt(batch, labels)
    masks = list(mwt.network.run(batch, list(mask_nodes(graph).values())).values())
    cohesion, coupling = modular_losses(masks, labels)
    torch.testing.assert_close(losses["cohesion_loss"], cohesion)
    torch.testing.assert_close(losses["coupling_loss"], coupling)
    torch.testing.assert_close(
        losses["loss"],
        losses["cross_entropy"] + 0.25 * losses["cohesion_loss"] + 2.0 * losses["coupling_loss"],
    )


def test_the_contrastive_loss_of_nemo_is_added_where_it_has_a_weight() -> None:
    graph, tensors = attach_mask_generators(*digits_network(), generator=seeded())
    settings = {"alpha": 0.0, "beta": 0.0, "contrastive": 1.1, "tau": 0.3}
    mwt = Mwt(build(graph, tensors), Task(n_classes=10, retention=0.3, settings=settings)).train()
    batch, labels = images(graph, 12), torch.arange(12) % 3
    losses = mwt(batch, labels)
    masks = list(mwt.network.run(batch, list(mask_nodes(graph).values())).values())
    contrastive = contrastive_loss(masks, labels, 0.3)
    torch.testing.assert_close(losses["contrastive_loss"], contrastive)
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + 1.1 * contrastive)
    plain = Mwt(build(graph, tensors), Task(10, 0.3, Mwt.settings)).train()
    assert "contrastive_loss" not in plain(batch, labels)


def test_a_temperature_of_0_is_refused() -> None:
    graph, tensors = attach_mask_generators(*digits_network(), generator=seeded())
    settings = {**Mwt.settings, "contrastive": 1.0, "tau": 0.0}
    with pytest.raises(ModpmError) as refusal:
        Mwt(build(graph, tensors), Task(10, 0.3, settings))
    assert (refusal.value.code, refusal.value.exit_code) == ("bad-setting", 2)


def test_mwt_has_the_recipe_of_the_paper() -> None:
    assert Mwt.recipe(is_trained=False) == (0.05, 0.0, 0.0)
    assert Mwt.settings == {"alpha": 0.5, "beta": 1.5, "contrastive": 0.0, "tau": 0.2}
