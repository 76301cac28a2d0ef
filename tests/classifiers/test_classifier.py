from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from tests.composition.tiny_origins import CLASSES, TinyOrigin, images, tiny_origin

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.classifier import Classifier, probabilities
from modpm.core.composition.compose import LEAST_POINTS, STRATEGIES, compose_modules, weigh, worth
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import ComposedAccuracy
from modpm.core.graph.cost import count_macs

# Sums of some hundred float32 terms in another order.
assert_near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


def test_an_independent_module_scores_as_it_does_alone() -> None:
    color = [tiny_origin().module(name, tiny_origin().some(3)) for name in ("cat", "dog")]
    gray = tiny_origin(4, channels=1, size=6).module("frog")
    other = tiny_origin(5).module("bird")
    photos = [Image.effect_noise((9, 9), 80).convert("RGB") for _ in range(3)]
    for modules in itertools.combinations([*color, gray, other], 3):
        composed = compose_modules(modules, "independent")
        scores = composed.score_images(photos)
        for i, module in enumerate(modules):
            assert_near(scores[:, i], module.score_images(photos))


def test_modules_of_one_input_contract_share_the_prepared_batch() -> None:
    modules = [
        tiny_origin().module("cat"),
        tiny_origin().module("dog"),
        tiny_origin(4, channels=1, size=6).module("frog"),
    ]
    composed = compose_modules(modules, "independent")
    assert len(composed.preprocessings) == 2


def test_outputs_are_in_the_order_of_the_modules_whatever_is_fused() -> None:
    near, far = tiny_origin(), tiny_origin(5)
    modules = [near.module("cat"), far.module("dog"), near.module("frog"), far.module("bird")]
    independent = compose_modules(modules, "independent")
    auto = compose_modules(modules, "auto")
    assert auto.labels == independent.labels == tuple(module.label for module in modules)
    assert len(auto.scorers) == 2
    # Modules that retain everything score the same fused and apart.
    assert_near(auto.score_images(images(4)), independent.score_images(images(4)))


def test_auto_says_what_it_did() -> None:
    near, far = tiny_origin(), tiny_origin(5)
    alike = [near.module("cat"), near.module("dog")]
    for modules, expected in (
        (alike, "fused"),
        ([*alike, far.module("cat")], "mixed"),
        ([near.module("cat"), far.module("cat")], "independent"),
    ):
        composition = compose_modules(modules, "auto").composition
        assert composition is not None
        assert composition.strategy == expected


@pytest.mark.parametrize("strategy", ["independent", "fused"])
def test_auto_takes_what_costs_less_arithmetic(strategy: str) -> None:
    origin = tiny_origin()
    kernels = {"independent": [[0], [1], [2], [3]], "fused": [[0, 1, 2]] * 4}[strategy]
    modules = [
        origin.module(name, {"conv1": some, "conv2": some, "conv3": some})
        for name, some in zip(CLASSES, kernels, strict=True)
    ]
    macs = {one: compose_modules(modules, one).macs for one in ("independent", "fused")}
    auto = compose_modules(modules, "auto")
    assert min(macs, key=macs.__getitem__) == strategy
    assert (auto.strategy, auto.macs) == (strategy, macs[strategy])


def recorded(origin: TinyOrigin, fused: float, independent: float) -> list[ClassModule]:
    """Return modules that cost least apart, with a record of both compositions."""
    composed = ComposedAccuracy(split="held out", n=500, fused=fused, independent=independent)
    modules = [
        origin.module(name, {"conv1": [i], "conv2": [i], "conv3": [i]})
        for i, name in enumerate(CLASSES)
    ]
    return [
        ClassModule(replace(module.manifest, composed=composed), module.tensors)
        for module in modules
    ]


@pytest.mark.parametrize(("gained", "strategy"), [(0.9, "fused"), (-0.1, "independent")])
def test_auto_takes_the_dearer_one_only_for_more_accuracy_than_its_arithmetic_is_worth(
    gained: float, strategy: str
) -> None:
    modules = recorded(tiny_origin(), 0.05, 0.0)
    macs = {one: compose_modules(modules, one).macs for one in ("independent", "fused")}
    needed = worth(macs["independent"], macs["fused"]) / 100
    assert needed > LEAST_POINTS / 100
    modules = recorded(tiny_origin(), 0.5 + needed * (1 + gained), 0.5)
    auto = compose_modules(modules, "auto")
    assert auto.strategy == strategy
    assert len(auto.reasons) == 1
    assert f"{strategy}, for independent costs {macs['independent']:,}" in auto.reasons[0]
    assert ("is worth" if strategy == "fused" else "is not worth") in auto.reasons[0]


@pytest.mark.parametrize("dear", [0.8, 0.7])
def test_what_costs_more_and_gains_nothing_is_not_weighed(dear: float) -> None:
    accuracy = ComposedAccuracy(split="held out", n=500, fused=0.8, independent=dear)
    verdict = weigh(100, 142, accuracy)
    assert verdict.is_fused
    assert "independent 142, for no more accuracy; " in verdict.reason
    assert "worth" not in verdict.reason


def test_a_gain_below_what_few_images_tell_decides_nothing() -> None:
    for gain, is_fused in ((0.004, True), (0.006, False)):
        accuracy = ComposedAccuracy(split="held out", n=500, fused=0.8, independent=0.8 + gain)
        assert weigh(100, 101, accuracy).is_fused == is_fused
    assert weigh(100, 101, None).is_fused
    assert not weigh(101, 100, None).is_fused


@pytest.mark.parametrize(
    ("fused_macs", "apart_macs", "gain", "alone", "beside"),
    [
        (111, 100, 0.0, False, True),  # a point is worth a little more arithmetic,
        (199, 100, 0.0, False, True),
        (201, 100, 0.0, False, False),  # but not twice as much
        (201, 100, 0.002, False, True),
        (100, 101, -0.01, False, True),  # apart must gain as much more
        (100, 101, -0.016, False, False),
    ],
)
def test_a_fusion_counts_for_a_point_more_beside_other_origins(
    fused_macs: int, apart_macs: int, gain: float, *, alone: bool, beside: bool
) -> None:
    accuracy = ComposedAccuracy(split="held out", n=500, fused=0.8 + gain, independent=0.8)
    assert weigh(fused_macs, apart_macs, accuracy).is_fused == alone
    verdict = weigh(fused_macs, apart_macs, accuracy, is_beside_others=True)
    assert verdict.is_fused == beside
    assert "1 point more beside other origins" in verdict.reason


def test_other_origins_do_not_stand_in_for_a_record() -> None:
    assert not weigh(101, 100, None, is_beside_others=True).is_fused


def test_auto_fuses_beside_other_origins_what_it_keeps_apart_alone() -> None:
    modules = recorded(tiny_origin(), 0.5, 0.5)
    assert compose_modules(modules, "auto").strategy == "independent"
    both = compose_modules([*modules, tiny_origin(5).module("cat")], "auto")
    assert both.composition is not None
    assert [one.strategy for one in both.composition.networks] == ["fused", "independent"]
    assert "beside other origins" in both.reasons[0]
    some = compose_modules([*modules[:-1], tiny_origin(5).module("cat")], "auto")
    assert some.composition is not None
    assert [one.strategy for one in some.composition.networks] == ["independent"] * 2


def test_records_of_modules_that_were_not_cut_together_decide_nothing() -> None:
    one, other = recorded(tiny_origin(), 0.9, 0.1), recorded(tiny_origin(), 0.8, 0.1)
    auto = compose_modules([one[0], other[1]], "auto")
    assert auto.strategy == "independent"
    assert "no accuracy is recorded" in auto.reasons[0]


def test_only_auto_gives_reasons_one_for_each_origin() -> None:
    near, far = tiny_origin(), tiny_origin(5)
    modules = [near.module("cat"), near.module("dog"), far.module("cat")]
    cat, dog, other = (module.label for module in modules)
    first, second = compose_modules(modules, "auto").reasons
    assert first.startswith(f"{cat}, {dog}: fused, for fused costs ")
    assert second == f"{other}: independent, the only one of its origin"
    assert compose_modules(modules, "independent").reasons == ()


def test_a_network_on_another_device_takes_images_from_any() -> None:
    composed = compose_modules([tiny_origin().module("cat"), tiny_origin().module("dog")])
    scores = composed.to("meta").score_images(images(3))
    assert scores.device.type == "meta"
    assert scores.shape == (3, 2)


def test_costs_are_those_of_the_networks_and_origins_count_once() -> None:
    near, far = tiny_origin(), tiny_origin(5)
    cut = {"conv1": [0, 1], "conv2": [0, 1], "conv3": [0, 1]}
    own = {"conv1": [2, 3], "conv2": [2, 3], "conv3": [2, 3]}
    modules = [near.module("cat", cut), near.module("dog", own), far.module("dog")]
    composed = compose_modules(modules, "independent")
    assert composed.macs == sum(module.manifest.macs for module in modules)
    assert composed.n_parameters == sum(module.manifest.n_parameters for module in modules)
    assert composed.origin_macs == sum(m.manifest.origin.macs for m in modules[1:])


def test_what_modules_of_one_origin_have_in_common_is_there_and_computed_once() -> None:
    origin = tiny_origin()
    kernels = [{"conv2": [0, 1]}, {"conv2": [1, 2]}, {"conv2": [2, 3], "conv3": [0, 1]}]
    modules = [origin.module(*one) for one in zip(CLASSES, kernels, strict=False)]
    composed = compose_modules(modules, "independent")
    (scorer,) = composed.networks()
    assert scorer.labels == composed.labels
    convolutions = [name.rpartition(".")[2] for name in scorer.graph.kernels()]
    assert convolutions.count("conv1") == 1
    assert convolutions.count("conv2") == 2  # two of the modules are alike
    apart = [compose_modules([module]) for module in modules]
    common = tuple(node for node in scorer.graph.nodes if not node.name.startswith("network"))[:-1]
    shared = replace(scorer.graph, nodes=common, output=common[-1].name)
    assert composed.macs == sum(one.macs for one in apart) - 2 * count_macs(shared)
    photos = images(5)
    for i, one in enumerate(apart):
        assert_near(composed.score_images(photos)[:, i], one.score_images(photos)[:, 0])


def test_a_prediction_names_the_likeliest_label_and_the_runner_up() -> None:
    modules = [tiny_origin().module(name) for name in CLASSES]
    composed = compose_modules(modules, "fused")
    scores = composed.score_images(images(5))
    for prediction, row in zip(composed.predict(images(5)), scores, strict=True):
        ranked = row.argsort(descending=True)
        assert prediction.label == composed.labels[ranked[0]]
        assert prediction.runner_up == composed.labels[ranked[1]]
        assert prediction.probability == pytest.approx(float(row.softmax(0).max()))
        assert list(prediction.scores) == list(composed.labels)
        assert list(prediction.scores.values()) == row.tolist()


def test_an_image_that_no_module_claims_is_none_of_the_above() -> None:
    modules = [tiny_origin().module(name, intercept=-1000.0) for name in ("cat", "dog")]
    for strategy in STRATEGIES:
        (prediction,) = compose_modules(modules, strategy, reject=0.5).predict(images(1))
        assert prediction.label is None
        assert prediction.probability == pytest.approx(1.0)
        assert prediction.runner_up in {"tiny/cat", "tiny/dog"}
        (labeled,) = compose_modules(modules, strategy).predict(images(1))
        assert labeled.label == prediction.runner_up


def test_a_classifier_of_one_label_gives_the_probability_of_its_score() -> None:
    module = tiny_origin().module("cat")
    (prediction,) = compose_modules([module]).predict(images(1))
    assert prediction.label == "tiny/cat"
    assert prediction.runner_up is None
    assert prediction.probability == pytest.approx(float(module.score_images(images(1)).sigmoid()))


def test_probabilities_are_shares_of_one() -> None:
    shares = probabilities(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)) * 100)
    assert_near(shares.sum(1), torch.ones(7))


def test_forward_takes_bytes_or_unit_numbers_of_any_size() -> None:
    composed = compose_modules([tiny_origin().module("cat"), tiny_origin().module("dog")])
    assert composed(images(2)).shape == (2, 2)
    assert torch.equal(composed(images(2)), composed(images(2).float() / 255))
    assert composed(images(2, size=20)).shape == (2, 2)
    assert composed.input_size == (8, 8)


def test_many_images_are_scored_in_parts_of_which_nothing_shows() -> None:
    composed = compose_modules([tiny_origin().module("cat")])
    assert_near(composed.score_images(images(300)), composed(images(300)).detach())


def test_two_modules_of_one_label_need_a_choice_or_an_alias() -> None:
    modules = [tiny_origin().module("cat"), tiny_origin(5).module("cat", label="tiny/cat")]
    with pytest.raises(ModpmError) as raised:
        compose_modules(modules)
    assert raised.value.code == "same-label"
    assert "tiny5/cat" in str(raised.value.hint)
    aliased = compose_modules(modules, labels=["tiny/cat", "tiny/tabby"])
    assert aliased.labels == ("tiny/cat", "tiny/tabby")


def test_nothing_cannot_be_composed() -> None:
    with pytest.raises(ModpmError) as raised:
        compose_modules([])
    assert raised.value.code == "nothing-to-compose"


@pytest.mark.parametrize("reject", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(reject: float) -> None:
    with pytest.raises(ModpmError) as raised:
        compose_modules([tiny_origin().module("cat")], reject=reject)
    assert raised.value.code == "invalid-threshold"


def test_a_strategy_that_is_none_is_refused() -> None:
    with pytest.raises(ModpmError) as raised:
        compose_modules([tiny_origin().module("cat")], "magic")
    assert raised.value.code == "unknown-strategy"


def test_a_classifier_is_in_evaluation_mode_and_trains_like_any_network() -> None:
    composed = compose_modules([tiny_origin().module("cat"), tiny_origin().module("dog")])
    assert isinstance(composed, Classifier)
    assert not composed.training
    composed(images(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in composed.parameters())
