from __future__ import annotations

from itertools import accumulate

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.batches import seeded_generator
from modpm.core.training.ranking import (
    NARROW,
    NARROW_STEP,
    NEARLY_ALL,
    SHARED,
    STEP,
    TRUNK,
    TRUNK_NEED,
    kernel_importance,
    n_shared,
    next_quota,
    quotas,
    rank_kernels,
)
from modpm.core.training.union import weights_in_modules

LAYERS = st.lists(st.integers(1, 300), min_size=1, max_size=6)


def by_name(sizes: list[int]) -> dict[str, int]:
    return {str(i): n for i, n in enumerate(sizes)}


def steps_to(quota: int, n_kernels: int) -> list[int]:
    """Return every quota of a layer from one kernel up to this."""
    found = [1]
    while found[-1] < quota:
        found.append(next_quota(found[-1], n_kernels))
    return found


@given(LAYERS, st.integers(0, 64), st.floats(0.01, 1.0))
def test_quotas_are_multiples_that_pay_or_whole_layers(
    sizes: list[int], n_whole: int, retention: float
) -> None:
    layers = by_name(sizes)
    for layer, quota in quotas(layers, sum(sizes) + n_whole, retention).items():
        n = layers[layer]
        step = STEP if n > NARROW else NARROW_STEP
        assert quota == n or (quota % step == 0 if quota > step else quota in {1, 2, 4, 8, 16})
        assert quota == n or quota <= NEARLY_ALL * n


@given(LAYERS, st.integers(0, 64), st.floats(0.01, 1.0))
def test_quotas_meet_the_rate_up_to_the_next_step(
    sizes: list[int], n_whole: int, retention: float
) -> None:
    layers = by_name(sizes)
    found = quotas(layers, sum(sizes) + n_whole, retention)
    budget = retention * (sum(sizes) + n_whole) - n_whole
    n_kept = sum(found.values())
    assert n_kept <= budget + 1e-6 or set(found.values()) == {1}
    steps = [next_quota(k, layers[layer]) - k for layer, k in found.items() if k < layers[layer]]
    assert not steps or n_kept + max(steps) > budget - 1e-6


@given(LAYERS, st.integers(0, 64), st.floats(0.01, 1.0))
def test_no_layer_keeps_two_steps_more_than_one_that_needs_as_much(
    sizes: list[int], n_whole: int, retention: float
) -> None:
    layers = by_name(sizes)
    found = quotas(layers, sum(sizes) + n_whole, retention)
    n_all = sum(sizes) + n_whole
    is_early = [so_far <= TRUNK * n_all for so_far in accumulate(sizes)]
    need = [TRUNK_NEED if early else 1 for early in is_early]
    pairs = [*zip(found.items(), need, strict=True)]
    partly = [k / own for (layer, k), own in pairs if k < layers[layer]]
    for (layer, quota), own in pairs:
        if quota > 1 and partly:
            assert steps_to(quota, layers[layer])[-2] / own <= min(partly)


@given(LAYERS, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_lower_rate_keeps_more_of_no_layer(sizes: list[int], one: float, other: float) -> None:
    layers = by_name(sizes)
    low, high = (quotas(layers, sum(sizes), rate) for rate in sorted((one, other)))
    assert all(low[layer] <= high[layer] for layer in layers)
    assert quotas(layers, sum(sizes), 1.0) == layers


def test_layers_of_known_networks_keep_what_their_widths_allow() -> None:
    vgg = by_name([32, 32, 64, 64, 128, 128])
    assert [*quotas(vgg, 480, 0.32).values()] == [32, 32, 16, 16, 16, 8]
    assert [*quotas(vgg, 480, 0.2).values()] == [16, 16, 8, 8, 8, 8]
    assert [*quotas(vgg, 480, 0.12).values()] == [8, 8, 2, 2, 2, 2]  # too few for a step of each
    resnet20 = by_name([16] * 7 + [32] * 6 + [64] * 6)
    assert [*quotas(resnet20, 688, 0.5).values()] == [16] * 7 + [32] + [24] * 3 + [16] * 8
    resnet18 = by_name([64] * 5 + [128] * 4 + [256] * 4 + [512] * 4)
    kept = [*quotas(resnet18, 3904, 0.32).values()]
    assert kept == [64] * 5 + [128] * 4 + [64] * 2 + [48] * 6


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 9), st.data())
def test_a_ranking_is_an_order_that_begins_with_what_all_share(
    n_classes: int, n_kernels: int, seed: int, data: st.DataObject
) -> None:
    quota = data.draw(st.integers(1, n_kernels))
    importance = torch.rand(n_classes, n_kernels, generator=seeded_generator(seed, 0, 0))
    ranks = rank_kernels(importance, quota)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(n_kernels).expand(n_classes, -1))
    n_common = n_shared(n_classes, n_kernels, quota)
    first = [set((row < n_common).nonzero()[:, 0].tolist()) for row in ranks]
    assert all(kernels == first[0] for kernels in first)


@given(st.integers(2, 100), st.integers(1, 300), st.data())
def test_classes_share_what_cannot_be_divided_among_them(
    n_classes: int, n_kernels: int, data: st.DataObject
) -> None:
    quota = data.draw(st.integers(1, n_kernels))
    common = n_shared(n_classes, n_kernels, quota)
    least, most = (round(share * quota) for share in SHARED)
    if quota == n_kernels:
        assert common == quota
        return
    assert least <= common <= most
    if least < common < most:
        own = quota - common
        assert n_classes * own >= n_kernels - common  # no kernel is nobody's
        assert n_classes * (own - 1) < n_kernels - common - 1  # nor are many of two classes


@settings(deadline=None)
@given(st.integers(0, 9), st.sampled_from([(4, 40, 16), (10, 128, 20), (10, 64, 20), (3, 16, 8)]))
def test_what_modules_keep_is_the_whole_layer_and_divided_as_far_as_possible(
    seed: int, layer: tuple[int, int, int]
) -> None:
    n_classes, n_kernels, quota = layer
    importance = torch.rand(n_classes, n_kernels, generator=seeded_generator(seed, 0, 0))
    kept = rank_kernels(importance, quota) < quota
    n_owners = kept.sum(0)
    assert bool((n_owners >= 1).all())
    common = n_shared(*layer)
    n_twice = n_classes * (quota - common) - (n_kernels - common)
    assert int((n_owners > 1).sum()) <= common + n_twice


def test_importance_is_the_slope_of_the_margin_along_each_kernel() -> None:
    torch.manual_seed(0)  # the slope is measured between the network's kinks
    graph, tensors = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    network = build(graph, tensors).double().train()
    nodes = cuttable_convolutions(graph)
    images = torch.randn(3, 1, 8, 8, generator=seeded_generator(0, 0, 1)).double()
    labels = torch.tensor([0, 2, 2])
    found = kernel_importance(network, nodes, torch.split(images, 2), labels, 3)
    assert network.training
    network.eval()

    def margin(i: int, scale: dict[str, torch.Tensor]) -> float:
        logits = network.run(images[i : i + 1], [graph.output], scale)[graph.output][0]
        others = torch.cat([logits[: labels[i]], logits[labels[i] + 1 :]])
        return float((logits[labels[i]] - others.logsumexp(0)).detach())

    step = 1e-5
    for layer, node in nodes.items():
        n_kernels = graph.kernels()[layer]
        for k in range(n_kernels):
            bump = torch.zeros(n_kernels, dtype=torch.float64)
            bump[k] = step
            up, down = {node: 1 + bump[None]}, {node: 1 - bump[None]}
            slopes = [abs(margin(i, up) - margin(i, down)) / (2 * step) for i in range(3)]
            expected = torch.tensor([slopes[0], 0.0, (slopes[1] + slopes[2]) / 2]).double()
            torch.testing.assert_close(found[layer][:, k], expected, rtol=1e-3, atol=1e-6)


def test_weights_in_modules_are_those_between_kernels_that_some_class_keeps_together() -> None:
    graph, _ = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    chance = seeded_generator(2, 0, 0)
    masks = {
        layer: torch.rand(3, graph.kernels()[layer], generator=chance) < 0.5
        for layer in cuttable_convolutions(graph)
    }
    for mask in masks.values():
        mask[:, 0] = True
    found = weights_in_modules(graph, masks)
    first, second = list(masks)[:2]
    name = graph.node(second).tensors["weight"]
    together = (masks[second][:, :, None] & masks[first][:, None, :]).any(0)
    assert torch.equal(found[name][..., 0, 0], together)
