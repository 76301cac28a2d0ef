"""A classifier made again of what its manifest says is the same classifier, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composition.tiny_origins import images, tiny_origin

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.saving import encode_classifier
from modpm.core.composition.compose import compose_modules, rebuild, record_of
from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest, requires_of
from modpm.core.formats.manifest import OwnScores

if TYPE_CHECKING:
    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.formats.composition_manifest import CompositionRecord


def released(module: ClassModule) -> ClassModule:
    """Return a module as one that was read from a distribution."""
    name = module.manifest.name
    digest = f"sha256:{int.from_bytes(name.encode(), 'big') % 2**256:064x}"
    return ClassModule(module.manifest, module.tensors, digest)


def pool() -> list[ClassModule]:
    """Return modules of three origins, in an order in which the origins alternate."""
    near, far, gray = tiny_origin(), tiny_origin(5), tiny_origin(4, channels=1, size=6)
    cut = [
        near.module("cat", near.some(1)),
        far.module("cat", far.some(3)),
        near.module("dog", near.some(2)),
        gray.module("frog", gray.some(4)),
        far.module("bird", far.some(5)),
        near.module("bird", near.some(6)),
    ]
    return [released(module) for module in cut]


def as_published(classifier: Classifier) -> CompositionRecord:
    """Return what a manifest says of a classifier, once it was written and read."""
    record = record_of(classifier)
    manifest = CompositionManifest(
        kind="composition",
        name="acme/pets",
        version="1.0.0",
        license="MIT",
        requires=requires_of(record.modules),
        composition=record,
    )
    return CompositionManifest.from_bytes(manifest.to_bytes()).composition


def assert_same(one: Classifier, other: Classifier) -> None:
    assert (one.labels, one.reject, one.strategy) == (other.labels, other.reject, other.strategy)
    assert torch.equal(one.score_images(images(5)), other.score_images(images(5)))
    assert one.predict(images(5)) == other.predict(images(5))
    assert encode_classifier(one) == encode_classifier(other)


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    strategy=st.sampled_from(["auto", "independent"]),
    reject=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
    aliased=st.booleans(),
)
def test_a_rebuilt_classifier_is_the_one_that_was_packed(
    chosen: list[int], strategy: str, reject: float | None, aliased: bool
) -> None:
    every = pool()
    modules = [every[i] for i in chosen]
    labels = [f"mine/{i}" for i in chosen] if aliased else None
    classifier = compose_modules(modules, strategy, labels=labels, reject=reject)

    assert_same(rebuild(as_published(classifier), modules), classifier)


@pytest.mark.parametrize("chosen", [[0], [2, 0], [0, 2, 5], [4, 1]])
def test_a_fused_classifier_is_fused_again(chosen: list[int]) -> None:
    every = pool()
    modules = [every[i] for i in chosen]
    classifier = compose_modules(modules, "fused")
    record = as_published(classifier)

    assert record.strategy == "fused"
    assert_same(rebuild(record, modules), classifier)


def test_whether_one_module_is_fused_is_kept_for_that_is_another_network() -> None:
    module = pool()[0]
    fused, alone = (compose_modules([module], kind) for kind in ("fused", "independent"))

    assert encode_classifier(fused)["config.json"] != encode_classifier(alone)["config.json"]
    for classifier in (fused, alone):
        assert_same(rebuild(as_published(classifier), [module]), classifier)


def test_another_release_of_a_module_is_refused() -> None:
    modules = pool()[:3]
    record = as_published(compose_modules(modules))
    other = ClassModule(modules[1].manifest, modules[1].tensors, "sha256:" + "0" * 64)

    with pytest.raises(ModpmError) as caught:
        rebuild(record, [modules[0], other, modules[2]])

    assert caught.value.code == "broken-composition"
    assert modules[1].manifest.name in caught.value.what


def test_modules_that_are_said_to_be_fused_and_cannot_be_are_refused() -> None:
    modules = pool()[:2]
    record = as_published(compose_modules(modules))
    fused = msgspec.structs.replace(record.networks[0], strategy="fused", modules=[0, 1])
    record = msgspec.structs.replace(record, networks=[fused], strategy="fused")

    with pytest.raises(ModpmError) as caught:
        rebuild(record, modules)

    assert caught.value.code == "different-origins"


def test_a_module_of_no_distribution_cannot_be_published() -> None:
    near = tiny_origin()
    with pytest.raises(ModpmError) as caught:
        record_of(compose_modules([near.module("cat")]))
    assert caught.value.code == "not-released"


def test_the_share_that_a_threshold_was_set_for_is_published() -> None:
    quantiles = [-3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 2.0, 5.0]
    scores = OwnScores(
        split="validation",
        n=100,
        own=quantiles,
        highest=quantiles,
    )
    module = released(tiny_origin().module("cat", own_scores=scores))
    made = compose_modules([module], reject="auto", false_rejections=0.1)
    again = rebuild(as_published(made), [module])
    assert (again.reject, again.false_rejections) == (0.5, 0.1)
