"""Class modules in half or double precision, and classifiers made so, run as those in single do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from tests.composition.tiny_origins import (
    TinyOrigin,
    dense_origin,
    images,
    publish,
    tiny_origin,
)

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.classifiers.preprocessing import Preprocessing
from modpm.core.composition.compose import compose_modules
from modpm.core.composition.fused import fuse
from modpm.core.errors import ModpmError
from modpm.core.exporting.onnx_export import export_onnx
from modpm.core.graph import build, count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRECISIONS = (torch.float16, torch.bfloat16, torch.float64)
TOLERANCES = {torch.float16: 0.02, torch.bfloat16: 0.2, torch.float64: 1e-3}
"""Of scores of some units: the rounding of a few layers."""


def in_precision(module: ClassModule, dtype: torch.dtype) -> ClassModule:
    tensors = {name: tensor.to(dtype) for name, tensor in module.tensors.items()}
    size = count(module.graph, tensors).size_bytes
    return ClassModule(msgspec.structs.replace(module.manifest, size_bytes=size), tensors)


def assert_alike(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    limit = TOLERANCES[dtype] * float(expected.abs().max())
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("make", [tiny_origin, dense_origin, lambda: dense_origin(1)])
def test_a_module_of_another_precision_scores_as_one_of_single_precision(
    make: Callable[[], TinyOrigin], dtype: torch.dtype, tmp_path: Path
) -> None:
    module = make().module("cat", make().some(1))
    other = in_precision(module, dtype)
    read = ClassModule.from_folder(publish(other, tmp_path / "cat"))
    assert next(iter(read.tensors.values())).dtype == dtype
    scores = read.score_images(images(4))
    assert scores.dtype == torch.promote_types(dtype, torch.float32)
    assert_alike(scores, module.score_images(images(4)), dtype)


@pytest.mark.parametrize("strategy", ["fused", "independent"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_modules_of_another_precision_are_composed_as_those_of_single_precision(
    strategy: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    origin = tiny_origin()
    modules = [origin.module(label, origin.some(i)) for i, label in enumerate(("cat", "dog"))]
    others = [in_precision(module, dtype) for module in modules]
    single = compose_modules(modules, strategy=strategy)
    classifier = compose_modules(others, strategy=strategy)
    assert_alike(classifier.score_images(images(4)), single.score_images(images(4)), dtype)
    classifier.save(tmp_path / "c")
    assert classifier.predict(images(2))[0].label in {"tiny/cat", "tiny/dog"}
    again = type(classifier).from_folder(tmp_path / "c")
    assert torch.equal(again.score_images(images(2)), classifier.score_images(images(2)))


def test_modules_of_different_precisions_are_composed_apart_but_not_fused() -> None:
    origin = tiny_origin()
    half, single = in_precision(origin.module("cat"), torch.float16), origin.module("dog")
    together = compose_modules([half, single], strategy="independent")
    assert together.score_images(images(2)).dtype == torch.float32
    with pytest.raises(ModpmError) as refusal:
        fuse([half, single], ["cat", "dog"])
    assert refusal.value.code == "origin-mismatch"


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("given", [torch.uint8, torch.float32, torch.float16, torch.float64])
def test_a_classifier_is_brought_to_another_precision_by_to(
    dtype: torch.dtype, given: torch.dtype
) -> None:
    origin, gray = tiny_origin(), tiny_origin(4, channels=1, size=6)
    modules = [origin.module("cat"), gray.module("dog"), dense_origin().module("bird")]
    single, other = (compose_modules(modules, strategy="independent") for _ in range(2))
    other.to(dtype)
    batch = images(3) if given == torch.uint8 else images(3).to(given) / 255
    assert_alike(other.score_images(batch), single.score_images(images(3)), dtype)
    assert_alike(other(batch).detach(), single(images(3)).detach(), dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_are_normalized_alike_in_every_precision(dtype: torch.dtype) -> None:
    contract = tiny_origin().input
    pixels = images(3).float() / 255
    expected = Preprocessing(contract)(pixels)
    assert torch.equal(Preprocessing(contract).to(dtype)(pixels), expected)


def test_a_network_takes_images_of_any_precision() -> None:
    network = build(dense_origin(1).graph, dense_origin(1).tensors).eval()
    batch = images(2).double() / 255
    with torch.no_grad():
        assert torch.equal(network(batch), network(batch.float()))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_classifier_of_another_precision_is_exported_in_single(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    classifier = compose_modules([in_precision(tiny_origin().module("cat"), dtype)])
    assert export_onnx(classifier, tmp_path / "c.onnx").max_difference < 1e-3
    assert classifier.networks()[0].network.get_parameter("conv1.weight").dtype == dtype
