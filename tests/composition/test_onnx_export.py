from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnxruntime
import pytest
import torch
from tests.composition.tiny_origins import TinyOrigin, dense_origin, images, tiny_origin
from torch import Tensor, nn

from modpm.core.classifiers.classifier import probabilities
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.exporting import onnx_export
from modpm.core.exporting.onnx_export import export_onnx
from modpm.core.graph.operators.pooling import AdaptiveMaxPool2d

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.classifiers.classifier import Classifier


def mixed_classifier() -> Classifier:
    """Return one with fused modules, two sizes, gray and color, and constants of cut kernels."""
    near, gray, dense = tiny_origin(), tiny_origin(4, channels=1, size=6), dense_origin()
    modules = [
        near.module("cat", near.some(1)),
        gray.module("frog", gray.some(2)),
        near.module("dog", near.some(3)),
        dense.module("bird", dense.some(4), label="dense/bird", name="dense/bird"),
    ]
    return compose_modules(modules, reject=0.25)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "classifier.onnx"
    export_onnx(mixed_classifier(), path)
    return path


def test_onnxruntime_computes_what_the_classifier_does_at_any_batch_size(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported.read_bytes())
    for n in (1, 2, 7):
        batch = images(n, seed=n).float() / 255
        scores, shares = session.run(["scores", "probabilities"], {"images": batch.numpy()})
        expected = mixed_classifier()(batch).detach()
        torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            torch.from_numpy(shares), probabilities(expected), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("size", [(9, 8), (8, 31), (50, 20), (5, 5), (1, 40), (12, 12)])
def test_the_file_reads_images_of_any_size_as_the_classifier_does(
    exported: Path, size: tuple[int, int]
) -> None:
    session = onnxruntime.InferenceSession(exported.read_bytes())
    assert session.get_inputs()[0].shape == ["N", 3, "height", "width"]
    batch = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    (scores,) = session.run(["scores"], {"images": batch.numpy()})
    expected = mixed_classifier()(batch).detach()
    torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-3, atol=1e-3)


def test_the_file_is_one_valid_model_that_names_its_labels(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["classifier.onnx"]
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["modpm.labels"].split("\n") == list(mixed_classifier().labels)
    assert metadata["modpm.reject"] == "0.25"
    assert "of any size" in metadata["modpm.input"]
    assert "8 x 8 and 6 x 6 (height x width)" in metadata["modpm.input"]


def test_the_file_says_nothing_of_the_machine_that_wrote_it(exported: Path) -> None:
    data = exported.read_bytes()
    assert b"site-packages" not in data
    assert b"/modpm/" not in data


def test_a_file_that_differs_from_the_classifier_is_not_written(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _classifier: exported.read_bytes())
    changed = mixed_classifier()
    export_onnx(changed, tmp_path / "right.onnx")
    changed.networks()[0].network.get_parameter("conv1.weight").data *= 2
    with pytest.raises(ModpmError) as raised:
        export_onnx(changed, tmp_path / "wrong.onnx")
    assert raised.value.code == "export-differs"
    assert [path.name for path in tmp_path.iterdir()] == ["right.onnx"]


@pytest.mark.parametrize("name", [".", "nowhere/x.onnx"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ModpmError) as raised:
        export_onnx(mixed_classifier(), tmp_path / name)
    assert raised.value.code == "cannot-write"


def test_a_missing_package_is_named_with_the_extra_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ModpmError) as raised:
        export_onnx(mixed_classifier(), tmp_path / "x.onnx")
    assert raised.value.code == "missing-extra"
    assert "modpm[onnx]" in str(raised.value.hint)


class UnevenPools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_max_pool2d(self.conv(x), (3, 5))
        x = nn.functional.adaptive_avg_pool2d(x, (2, 3))
        logits: Tensor = self.linear(nn.functional.adaptive_max_pool2d(x, (5, 2)).mean((2, 3)))
        return logits


def test_pools_whose_windows_differ_in_size_are_exported(tmp_path: Path) -> None:
    origin = TinyOrigin(UnevenPools(), has_generators=False)
    operators = [node.operator for node in origin.graph.nodes]
    assert operators.count("adaptive_max_pool2d") == 2
    export = export_onnx(compose_modules([origin.module("cat")]), tmp_path / "c.onnx")
    assert export.max_difference < 1e-5


def test_what_torch_cannot_export_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_onnx(x: Tensor) -> Tensor:
        return nn.functional.adaptive_max_pool2d(x, 3)  # of eight pixels: no even windows

    origin = TinyOrigin(UnevenPools(), has_generators=False)
    monkeypatch.setattr(AdaptiveMaxPool2d, "forward", lambda _self, x: without_onnx(x))
    with pytest.raises(ModpmError) as raised:
        export_onnx(compose_modules([origin.module("cat")]), tmp_path / "c.onnx")
    assert raised.value.code == "cannot-export"
    assert not list(tmp_path.iterdir())
