from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime
import pytest
import torch
from tests.composition.tiny_origins import images
from tests.composition.tiny_projects import make_project, run

from modpm.core.classifiers.classifier import Classifier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    run("compose", "tiny/*", "--project", make_project(folder), "-o", folder / "clf")
    return folder


def test_export_writes_one_file_that_runs_without_modpm(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    outcome = run("export", place / "clf", "--format", "onnx", "-o", path, "--json")
    assert outcome.code == 0
    assert outcome.stderr == ""
    assert outcome.data["labels"] == ["tiny/cat", "tiny/dog"]
    assert outcome.data["input_shape"] == [3, 8, 8]
    assert outcome.data["size_bytes"] == path.stat().st_size
    assert outcome.data["max_difference"] < 1e-3
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]
    batch = images(3).float() / 255
    (scores,) = onnxruntime.InferenceSession(path).run(["scores"], {"images": batch.numpy()})
    expected = Classifier.from_folder(place / "clf")(batch).detach()
    torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["clf", "-o", "."], 1, "cannot-write"),
        (["clf", "-o", "nowhere/x.onnx"], 1, "cannot-write"),
        (["clf", "--format", "pickle", "-o", "x"], 2, "usage"),
        (["registry", "-o", "x.onnx"], 1, "not-a-classifier"),
        (["clf"], 2, "usage"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    exit_code: int,
    code: str,
) -> None:
    monkeypatch.chdir(place)
    outcome = run("export", *arguments, "--json")
    assert outcome.data["error"]["code"] == code
    assert outcome.code == exit_code
