from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.composition.tiny_projects import make_image_folder, make_project, run

from modpm.core.composition.classifier import Classifier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    project = make_project(folder)
    run("compose", "--project", project, "-o", folder / "clf")
    run("compose", "--project", project, "--reject", "1", "-o", folder / "none")
    make_image_folder(folder / "data")
    return folder


def test_predict_prints_label_and_scores_of_each_image_as_json(place: Path) -> None:
    paths = sorted((place / "data/test/cat").iterdir())
    outcome = run("predict", place / "clf", *paths, "--json")
    assert outcome.code == 0
    classifier = Classifier.from_folder(place / "clf")
    expected = classifier.predict([Image.open(path) for path in paths])
    assert [one["image"] for one in outcome.data] == [str(path) for path in paths]
    for found, prediction in zip(outcome.data, expected, strict=True):
        assert found["label"] == prediction.label
        assert found["probability"] == prediction.probability
        assert found["scores"] == prediction.scores
        assert list(found["scores"]) == list(classifier.labels)


def test_predict_prints_label_probability_and_runner_up(place: Path) -> None:
    path = place / "data/test/cat/0.png"
    outcome = run("predict", place / "clf", path)
    head, row = outcome.stdout.splitlines()
    (prediction,) = Classifier.from_folder(place / "clf").predict(Image.open(path))
    assert head.split() == ["image", "label", "probability", "runner-up"]
    assert row.split()[0] == str(path)
    assert row.split()[1] == prediction.label
    assert row.split()[3] == prediction.runner_up


def test_an_image_that_no_module_claims_has_no_label(place: Path) -> None:
    path = place / "data/test/cat/0.png"
    assert run("predict", place / "none", path, "--json").data[0]["label"] is None
    assert "none of the above" in run("predict", place / "none", path).stdout


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "CMYK"])
def test_images_of_any_mode_and_size_are_classified(place: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    Image.new(mode, (31, 17)).save(path)
    assert run("predict", place / "clf", path, "--json").code == 0


def test_what_is_no_image_is_named_and_nothing_is_printed(place: Path, tmp_path: Path) -> None:
    good = place / "data/test/cat/0.png"
    (tmp_path / "text.png").write_text("no image")
    header = good.read_bytes()[:16] + (2**17).to_bytes(4, "big") * 2
    (tmp_path / "enormous.png").write_bytes(header + good.read_bytes()[24:])
    (tmp_path / "truncated.png").write_bytes(good.read_bytes()[:60])
    for name in ("text.png", "enormous.png", "truncated.png", "missing.png", "."):
        outcome = run("predict", place / "clf", good, tmp_path / name)
        assert outcome.code == 1
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("error: ")
        assert f"at: {tmp_path / name}" in outcome.stderr


@pytest.mark.parametrize(
    ("name", "code"), [("data", "not-a-classifier"), ("nowhere", "not-a-classifier")]
)
def test_what_is_no_classifier_is_refused(place: Path, name: str, code: str) -> None:
    outcome = run("predict", place / name, place / "data/test/cat/0.png", "--json")
    assert outcome.code == 1
    assert outcome.data["error"]["code"] == code


def test_no_image_at_all_is_asked_wrongly(place: Path) -> None:
    assert run("predict", place / "clf").code == 2
