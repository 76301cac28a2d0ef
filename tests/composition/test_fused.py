from __future__ import annotations

import itertools
from functools import partial

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composition.tiny_origins import (
    CLASSES,
    PlainCNN,
    TinyOrigin,
    dense_origin,
    images,
    tiny_origin,
)
from torch import Tensor, nn

from modpm.core.classifiers.preprocessing import Preprocessing, unit_pixels
from modpm.core.composition.compose import compose_modules
from modpm.core.composition.fused import fuse, union
from modpm.core.errors import ModpmError
from modpm.core.graph import build
from modpm.core.slicing import slice_graph

# Sums of some hundred float32 terms in another order.
assert_near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


def prepared(origin: TinyOrigin, n: int = 6) -> torch.Tensor:
    pixels = unit_pixels(images(n, channels=origin.input.channels))
    batch: torch.Tensor = Preprocessing(origin.input)(pixels)
    return batch


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_fused_of_modules_that_retain_everything_is_the_origin_restricted_to_their_labels(
    k: int,
) -> None:
    origin = tiny_origin()
    for chosen in itertools.combinations(CLASSES, k):
        modules = [origin.module(name, slope=2.0, intercept=0.5) for name in chosen]
        fused = fuse(modules, chosen)
        logits = origin.network(prepared(origin))[:, [CLASSES.index(name) for name in chosen]]
        assert_near(fused(prepared(origin)), 2.0 * logits + 0.5)


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5, 0.8]))
@settings(max_examples=6, deadline=None)
def test_fused_of_one_module_is_that_module(seed: int, share: float) -> None:
    origin = tiny_origin(seed % 3)
    module = origin.module("cat", origin.some(seed, share))
    fused = fuse([module], ["tiny/cat"])
    assert_near(fused(prepared(origin)).squeeze(1), module(prepared(origin)))


@pytest.mark.parametrize("padding", [0, 1])
def test_fused_of_one_module_is_that_module_where_cutting_leaves_constants(padding: int) -> None:
    origin = dense_origin(padding)
    module = origin.module("dog", origin.some(1))
    fused = fuse([module], ["tiny/dog"])
    assert_near(fused(prepared(origin)).squeeze(1), module(prepared(origin)))


@given(seed=st.integers(0, 10**6), n_modules=st.integers(2, 4))
@settings(max_examples=6, deadline=None)
def test_fused_does_not_depend_on_the_order_of_modules_but_for_the_order_of_outputs(
    seed: int, n_modules: int
) -> None:
    origin = tiny_origin()
    modules = [origin.module(name, origin.some(seed + i)) for i, name in enumerate(CLASSES)]
    modules = modules[:n_modules]
    labels = [module.label for module in modules]
    there = fuse(modules, labels)(prepared(origin))
    back = fuse(modules[::-1], labels[::-1])(prepared(origin))
    assert_near(there, back.flip(1))


def test_a_weight_is_in_the_fused_network_where_some_module_retains_both_its_kernels() -> None:
    origin = TinyOrigin(PlainCNN(), has_generators=False)
    first = origin.module("cat", {"conv2": [0, 1], "conv3": [2, 3]})
    second = origin.module("dog", {"conv2": [1, 4], "conv3": [3, 5]})
    fused = fuse([first, second], ["a/cat", "a/dog"])
    weight = fused.network.state_dict()["conv3.weight"]
    whole = origin.tensors["conv3.weight"]
    rows, columns = [2, 3, 5], [0, 1, 4]
    together = {(k, j) for k in (2, 3) for j in (0, 1)} | {(k, j) for k in (3, 5) for j in (1, 4)}
    for (row, k), (column, j) in itertools.product(enumerate(rows), enumerate(columns)):
        expected = whole[k, j] if (k, j) in together else torch.zeros(3, 3)
        assert torch.equal(weight[row, column], expected)


def test_modules_with_the_same_kernels_fuse_to_the_sliced_origin() -> None:
    origin = dense_origin()
    kept = origin.some(7)
    modules = [origin.module(name, kept, slope=1.0, intercept=0.0) for name in CLASSES]
    sliced = build(*slice_graph(origin.graph, origin.tensors, kept)).eval()
    fused = fuse(modules, CLASSES)
    assert_near(fused(prepared(origin)), sliced(prepared(origin)))


def test_what_cut_kernels_add_is_kept_where_another_module_has_some_of_them() -> None:
    """The oracle masks the origin's weights that no module has, and counts their constants."""
    origin = dense_origin()
    cat = origin.module("cat", origin.some(1), slope=1.0, intercept=0.0)
    everything = origin.module("dog", slope=1.0, intercept=0.0)
    fused = fuse([cat, everything], ["a/cat", "a/dog"])
    logits = origin.network(prepared(origin))
    assert_near(fused(prepared(origin))[:, 1], logits[:, 2])


def test_the_head_of_a_module_does_not_matter_to_the_fused_scores() -> None:
    origin = tiny_origin()
    modules = [origin.module("cat", origin.some(1)), origin.module("dog", origin.some(2))]
    expected = fuse(modules, ["a/cat", "a/dog"])(prepared(origin))
    for module in modules:
        module.network.get_parameter("score.weight").data += 3
    assert torch.equal(fuse(modules, ["a/cat", "a/dog"])(prepared(origin)), expected)


def test_a_layer_that_one_module_has_whole_is_whole_in_the_union() -> None:
    origin = tiny_origin()
    modules = [
        origin.module("cat", {"conv2": [0], "conv3": [1]}),
        origin.module("dog", {"conv2": [3]}),
    ]
    assert union(modules) == {"conv2": [0, 3]}


def test_the_union_costs_no_more_than_the_origin_and_no_less_than_its_largest_module() -> None:
    origin = tiny_origin()
    modules = [origin.module(name, origin.some(i)) for i, name in enumerate(CLASSES)]
    fused = compose_modules(modules, "fused")
    assert fused.origin_macs is not None
    assert max(module.manifest.macs for module in modules) <= fused.macs <= fused.origin_macs


def test_modules_of_different_origins_cannot_be_fused() -> None:
    modules = [tiny_origin(1).module("cat"), tiny_origin(2).module("dog")]
    with pytest.raises(ModpmError) as raised:
        fuse(modules, ["a/cat", "a/dog"])
    assert raised.value.code == "different-origins"
    assert "tiny1/cat" in str(raised.value.why)
    assert "tiny2/dog" in str(raised.value.why)


def test_modules_that_contradict_each_other_about_their_origin_cannot_be_fused() -> None:
    origin = tiny_origin()
    honest, liar = origin.module("cat"), origin.module("dog")
    liar.network.get_parameter("conv1.weight").data[0, 0, 0, 0] += 1
    with pytest.raises(ModpmError) as raised:
        fuse([honest, liar], ["a/cat", "a/dog"])
    assert raised.value.code == "origin-mismatch"
    assert "conv1.weight" in str(raised.value.why)


def test_two_modules_of_one_class_of_one_origin_cannot_be_fused() -> None:
    origin = tiny_origin()
    modules = [origin.module("cat"), origin.module("cat", origin.some(3), name="tiny/cat-2")]
    with pytest.raises(ModpmError) as raised:
        fuse(modules, ["a/cat", "b/cat"])
    assert raised.value.code == "cannot-fuse"


def test_an_origin_that_is_claimed_to_be_enormous_is_not_joined() -> None:
    origin = tiny_origin()
    cat, dog = origin.module("cat"), origin.module("dog")
    first = origin.graph.node("conv1")
    wide = msgspec.structs.replace(first, attributes={**first.attributes, "n_kernels": 2**20})
    tensors = {"weight": "conv2.weight"}
    wider = msgspec.structs.replace(wide, name="conv2", inputs=("conv1",), tensors=tensors)
    graph = msgspec.structs.replace(origin.graph, nodes=(wide, wider), output="conv2")
    huge = msgspec.structs.replace(cat.manifest.origin, graph=graph)
    for module in (cat, dog):
        module.manifest = msgspec.structs.replace(module.manifest, origin=huge)
    with pytest.raises(ModpmError) as raised:
        fuse([cat, dog], ["a/cat", "a/dog"])
    assert raised.value.code == "cannot-fuse"
    assert "numbers" in str(raised.value.why)


def test_constants_that_modules_do_not_name_keep_them_apart_under_auto() -> None:
    origin = dense_origin(padding=1)
    modules = [origin.module("cat", origin.some(1)), origin.module("dog", origin.some(2))]
    with pytest.raises(ModpmError) as raised:
        compose_modules(modules, "fused")
    assert raised.value.code == "cannot-fuse"
    composed = compose_modules(modules, "auto")
    assert composed.composition is not None
    assert composed.composition.strategy == "independent"


class Recurrent(nn.Module):
    """One convolution and one batch norm, used three times; a slope that all share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.slope = nn.BatchNorm2d(6), nn.PReLU()
        self.last, self.linear = nn.Conv2d(6, 8, 1), nn.Linear(8, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.stem(x))
        for _ in range(3):
            x = self.slope(self.norm(self.conv(x)) + x)
        logits: Tensor = self.linear(self.last(x).relu().mean((2, 3)))
        return logits


def test_modules_of_an_origin_that_uses_a_layer_again_are_fused_as_others_are() -> None:
    origin = TinyOrigin(Recurrent(), has_generators=False)
    one, two = (origin.module(name, origin.some(1)) for name in ("cat", "dog"))
    assert_near(fuse([one], ["cat"])(prepared(origin)).squeeze(1), one(prepared(origin)))
    fused = fuse([one, two], ["cat", "dog"])
    kept = union([one, two])
    graph, tensors = slice_graph(origin.graph, origin.tensors, kept, [1, 2])
    logits = build(graph, tensors).eval()(prepared(origin))
    assert_near(fused(prepared(origin)), 1.5 * logits - 0.25)
