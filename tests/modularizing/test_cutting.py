"""Cut networks, their scores, and networks side by side."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from tests.modularizing.calibrators import fit
from torch import nn

from modpm.core.calibrations import HEAD, PLATT
from modpm.core.graph import build, infer_shapes, trace
from modpm.core.graph.side_by_side import PlainNetwork, SideBySide
from modpm.core.modularizing.cutting import (
    CutNetwork,
    ScoredNetwork,
    cut,
    kernel_retention_rate,
    retained_kernels,
    with_score,
)
from modpm.core.modularizing.reading import read_cuts, read_scores
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions, mask_network
from modpm.core.training.evidence import Cutoff, Importance
from modpm.core.training.inference import normalizing, predict
from modpm.core.training.methods.mwt import attach_mask_generators

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.origins.origin import OriginNetwork

# float32, and sums in another order
assert_near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


def some_masks(origin: OriginNetwork) -> dict[str, Tensor]:
    """Return random masks of all convolutions but the first; none is empty."""
    generator = torch.Generator().manual_seed(0)
    masks = {}
    for conv in list(origin.kernels)[1:]:
        masks[conv] = torch.rand(3, origin.kernels[conv], generator=generator) < 0.6
        masks[conv][:, 0] |= ~masks[conv].any(1)
    return masks


def outputs_of(scored: ScoredNetwork, data: ImageData, origin: OriginNetwork) -> Tensor:
    """Return what a network says of images by itself."""
    network = build(scored.graph, scored.tensors)
    return predict(network, data.images, normalizing(origin.contract))


def run_together(
    networks: Sequence[PlainNetwork], images: Tensor, outputs: Sequence[Sequence[str]]
) -> list[dict[str, Tensor]]:
    """Return the values of some nodes of each network, from all of them as one."""
    together = SideBySide(networks)
    names = [{node: together.name(i, node) for node in own} for i, own in enumerate(outputs)]
    network = build(together.graph, together.tensors).eval()
    values = network.run(images, [name for own in names for name in own.values()])
    return [{node: values[name] for node, name in own.items()} for own in names]


@pytest.fixture(scope="module")
def networks(origin: OriginNetwork) -> list[CutNetwork]:
    """Return the networks of three classes, with random kernels."""
    return [cut(origin.graph, origin.tensors, some_masks(origin), i) for i in range(3)]


def test_a_cut_network_gives_the_logit_of_the_masked_network(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    data = origin.validation.select(range(30))
    for network, readings in zip(networks, read_cuts(networks, data, origin), strict=True):
        masked = mask_network(origin.graph, origin.tensors, network.retained)
        with torch.inference_mode():
            expected = masked.eval()(normalizing(origin.contract)(data.images))
        assert_near(readings.logits, expected[:, network.class_index])


def test_layers_that_all_classes_keep_whole_are_the_same_tensors_in_every_module() -> None:
    graph, tensors = trace(create("small_vgg", 10, 3, 0.5), torch.zeros(2, 3, 32, 32))
    kernels = graph.kernels()
    chance = torch.Generator().manual_seed(0)
    importance = {
        layer: torch.rand(10, kernels[layer], generator=chance)
        for layer in cuttable_convolutions(graph)
    }
    masks = Importance(importance, sum(kernels.values())).masks(Cutoff(retention=0.5))
    modules = [cut(graph, tensors, masks, i) for i in range(10)]
    widths = {layer: set(map(len, rows)) for layer, rows in _retained(modules).items()}
    whole = [layer for layer, n in kernels.items() if widths[layer] == {n}]
    assert whole == ["features.0", "features.4", "features.7"]
    norms = [node for node in graph.nodes if node.operator == "batch_norm2d"][: len(whole)]
    nodes = [*map(graph.node, whole), *norms]
    names = [name for node in nodes for name in node.tensors.values()]
    assert len(names) > len(nodes)
    for name in names:
        assert {_bytes(module.tensors[name]) for module in modules} == {_bytes(tensors[name])}
    assert len({_bytes(module.tensors["features.11.weight"]) for module in modules}) > 1


def _retained(modules: list[CutNetwork]) -> dict[str, list[list[int]]]:
    layers = modules[0].retained
    return {layer: [module.retained[layer] for module in modules] for layer in layers}


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_features_are_what_cut_layers_read_averaged_and_what_the_last_one_reads(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    network = networks[0]
    *pools, last = network.features
    assert {node.operator for node in pools} == {"mean"}
    sources = {network.graph.node(conv).inputs[0] for conv in network.cut_layers}
    assert {node.inputs[0] for node in pools} == sources
    assert network.graph.node(network.graph.output).inputs == (last.name,)
    shapes = infer_shapes(network.with_features)
    sizes = [shapes[node.name][0] for node in network.features]
    assert sizes == [len(network.retained[conv]) for conv in origin.kernels]
    (readings,) = read_cuts([network], origin.validation.select(range(8)), origin)
    assert readings.features.shape == (8, sum(sizes))


def test_a_head_reads_averages_that_the_network_computes_anyway() -> None:
    graph, tensors = trace(ConvolutionalClassifier(), torch.zeros(2, 1, 8, 8))
    generators = attach_mask_generators(graph, tensors, generator=torch.Generator())
    masks = {"score": torch.ones(3, 6, dtype=torch.bool)}
    (alone,) = cut(graph, tensors, masks, 1).features
    (shared,) = cut(*generators, masks, 1).features
    assert shared.name == "score.mask_generator.pool"
    assert alone.inputs == shared.inputs


@pytest.mark.parametrize("kind", [PLATT, HEAD, "tests.modularizing.calibrators:Midpoint"])
def test_the_score_node_gives_what_the_calibrator_gives(
    origin: OriginNetwork, networks: list[CutNetwork], kind: str
) -> None:
    data = origin.validation
    for network, readings in zip(networks, read_cuts(networks, data, origin), strict=True):
        calibrator = fit(
            kind, readings.features, readings.logits, data.labels == network.class_index
        )
        scored = with_score(network, calibrator)
        assert scored.graph.output == scored.score
        assert (scored.features is not None) == (kind == HEAD)
        assert infer_shapes(scored.graph)[scored.score] == (1,)
        expected = calibrator.scores(readings.features, readings.logits).float()
        found = outputs_of(scored, data, origin)[:, 0]
        assert_near(found, expected)


def test_networks_side_by_side_give_what_each_gives_alone(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    images = torch.randn(5, *origin.graph.input_shape, generator=torch.Generator().manual_seed(0))
    plain = [PlainNetwork(one.graph, one.tensors) for one in networks]
    outputs = [(one.graph.nodes[3].name, one.graph.output) for one in networks]
    with torch.inference_mode():
        found = run_together(plain, images, outputs)
        for network, names, values in zip(networks, outputs, found, strict=True):
            expected = build(network.graph, network.tensors).eval().run(images, names)
            assert values.keys() == expected.keys()
            for name in names:
                assert_near(values[name], expected[name])


def test_what_networks_share_is_computed_once(networks: list[CutNetwork]) -> None:
    together = SideBySide([PlainNetwork(one.graph, one.tensors) for one in networks])
    found = together.graph.kernels()
    first, second, *others = networks[0].graph.kernels()
    assert len(found) == 2 + len(networks) * len(others)
    assert found[first] == networks[0].graph.kernels()[first]
    # The second reads the same in all networks, and has each kernel of any of them once.
    retained = {kernel for network in networks for kernel in network.retained[second]}
    assert found[f"union.{second}"] == len(retained)


def test_networks_that_differ_in_one_number_share_nothing_after_it(
    networks: list[CutNetwork],
) -> None:
    first = networks[0]
    conv = next(iter(first.graph.kernels()))
    weight = f"{conv}.weight"
    other = {**first.tensors, weight: first.tensors[weight] + 1}
    images = torch.randn(2, *first.graph.input_shape, generator=torch.Generator().manual_seed(0))
    both = [PlainNetwork(first.graph, first.tensors), PlainNetwork(first.graph, other)]
    names = (first.graph.output,)
    with torch.inference_mode():
        one, two = run_together(both, images, [names, names])
        expected = build(first.graph, other).eval()(images)
    assert not torch.equal(one[names[0]], two[names[0]])
    assert_near(two[names[0]], expected)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("changed", ["second.weight", "second.bias", "stride"])
def test_a_layer_that_differs_gives_each_network_its_own_values(groups: int, changed: str) -> None:
    torch.manual_seed(0)
    second = nn.Conv2d(4, 4, 3, groups=groups)
    layers = [("first", nn.Conv2d(1, 4, 3)), ("second", second), ("pool", nn.AdaptiveAvgPool2d(1))]
    network = nn.Sequential(OrderedDict(layers))
    graph, tensors = trace(network, torch.zeros(2, 1, 8, 8))
    other_graph, other = graph, dict(tensors)
    if changed == "stride":
        second.stride = (2, 2)
        other_graph, _ = trace(network, torch.zeros(2, 1, 8, 8))
    else:
        other[changed] = tensors[changed].flip(0)
    both = [PlainNetwork(graph, tensors), PlainNetwork(other_graph, other)]
    images = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        found = run_together(both, images, [(one.graph.output,) for one in both])
        for one, values in zip(both, found, strict=True):
            expected = build(one.graph, one.tensors).eval()(images)
            assert_near(values[one.graph.output], expected)


class ConvolutionalClassifier(nn.Module):
    """Gives its logits by a convolution, and has a layer called `score`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.score = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.score(self.first(x).relu()).relu()
        logits: torch.Tensor = self.last(x).mean((2, 3))
        return logits


def test_a_classifier_without_a_linear_layer_gets_a_score_too() -> None:
    graph, tensors = trace(ConvolutionalClassifier(), torch.zeros(2, 1, 8, 8))
    mask = torch.tensor([True, False, True, False, False, True]).expand(3, -1)
    network = cut(graph, tensors, {"score": mask}, 1)
    (pool,) = network.features
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = build(network.with_features, network.tensors).eval()
    values = whole.run(images, (pool.name, network.graph.output))
    features = values[pool.name].detach()
    logits = values[network.graph.output][:, 0].detach()
    calibrator = fit(HEAD, features, logits, torch.tensor([True, False, False]))
    scored = with_score(network, calibrator)
    assert scored.score != "score"
    found = build(scored.graph, scored.tensors).eval()(images)[:, 0].detach()
    assert_near(found, calibrator.scores(features, logits).float())


def test_scores_of_several_networks_are_columns(
    origin: OriginNetwork, networks: list[CutNetwork]
) -> None:
    data = origin.validation
    scored = [
        with_score(one, fit(HEAD, r.features, r.logits, data.labels == one.class_index))
        for one, r in zip(networks, read_cuts(networks, data, origin), strict=True)
    ]
    few = data.select(range(12))
    scores = read_scores(scored, few, origin)
    assert scores.shape == (12, 3)
    assert_near(scores[:, 1:2], outputs_of(scored[1], few, origin))


def test_a_convolution_that_is_not_cut_retains_all_and_counts() -> None:
    masks = {"b": torch.tensor([[True, False, False, True]])}
    kernels = {"a": 2, "b": 4}
    retained = retained_kernels(masks, 0, kernels)
    assert retained == {"a": [0, 1], "b": [0, 3]}
    assert kernel_retention_rate(retained, kernels) == pytest.approx(4 / 6)
