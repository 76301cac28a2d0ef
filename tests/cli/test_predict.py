from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.composition.tiny_projects import make_image_folder, make_project, run

from modpm.core.classifiers.classifier import Classifier
from modpm.core.shown_text import Percent, Points, short_labels

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
    assert prediction.runner_up is not None
    shown = short_labels(list(prediction.scores))
    probability, is_percent, runner_up = row.split()[-3:]
    assert row.split()[1] == shown[str(prediction.label)]
    assert (probability, is_percent) == (f"{100 * prediction.probability:.2f}", "%")
    assert runner_up == shown[prediction.runner_up]


def test_an_image_that_no_module_claims_has_no_label(place: Path) -> None:
    path = place / "data/test/cat/0.png"
    assert run("predict", place / "none", path, "--json").data[0]["label"] is None
    assert "none of the above" in run("predict", place / "none", path).stdout


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "CMYK"])
def test_images_of_any_mode_and_size_are_classified(place: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    Image.new(mode, (31, 17)).save(path)
    assert run("predict", place / "clf", path, "--json").code == 0


def test_what_is_no_image_is_named_after_what_the_others_show(place: Path, tmp_path: Path) -> None:
    good = place / "data/test/cat/0.png"
    (tmp_path / "text.png").write_text("no image")
    header = good.read_bytes()[:16] + (2**17).to_bytes(4, "big") * 2
    (tmp_path / "enormous.png").write_bytes(header + good.read_bytes()[24:])
    (tmp_path / "truncated.png").write_bytes(good.read_bytes()[:60])
    for name in ("text.png", "enormous.png", "truncated.png", "missing.png"):
        outcome = run("predict", place / "clf", tmp_path / name, good)
        assert outcome.code == 1
        assert outcome.stdout == run("predict", place / "clf", good).stdout
        assert outcome.stderr.startswith("error: ")
        assert f"at: {tmp_path / name}" in outcome.stderr


@pytest.fixture
def pictures(place: Path, tmp_path: Path) -> Path:
    """Return a folder of two images, a damaged one and a text."""
    folder = tmp_path / "pictures"
    shutil.copytree(place / "data/test/cat", folder / "b" / "c")
    (folder / "b" / "c" / "1.png").write_text("no image")
    (folder / "a.txt").write_text("a text")
    return folder


def test_a_folder_stands_for_all_images_in_it_and_below(place: Path, pictures: Path) -> None:
    outcome = run("predict", place / "clf", pictures, place / "data/test/dog/0.png", "--json")
    names = [str(pictures / f"b/c/{i}.png") for i in range(3)]
    assert [one["image"] for one in outcome.data] == [*names, str(place / "data/test/dog/0.png")]
    assert outcome.code == 1
    assert outcome.data[1]["error"]["code"] == "bad-image"
    for one in [outcome.data[0], *outcome.data[2:]]:
        (alone,) = run("predict", place / "clf", one["image"], "--json").data
        assert one["label"] == alone["label"]
        assert one["scores"] == pytest.approx(alone["scores"], abs=1e-5)
    assert f"1 files in {pictures} are no images by their suffix: 1 .txt" in outcome.stderr


def test_bad_images_are_skipped_and_counted(place: Path, pictures: Path) -> None:
    outcome = run("predict", place / "clf", pictures, "--skip-bad", "--json")
    assert (outcome.code, len(outcome.data)) == (0, 2)
    assert "1 of 3 images cannot be used and were left out, the first" in outcome.stderr
    for path in pictures.rglob("*.png"):
        path.write_text("no image")
    nothing = run("predict", place / "clf", pictures, "--skip-bad", "--json")
    assert (nothing.code, nothing.data["error"]["code"]) == (1, "no-images")


def test_an_image_that_is_not_there_is_not_skipped(place: Path, pictures: Path) -> None:
    outcome = run("predict", place / "clf", pictures, "absent.png", "--skip-bad", "--json")
    assert outcome.code == 1
    assert [one["error"]["code"] for one in outcome.data if "error" in one] == ["image-not-found"]


def test_a_folder_without_images_is_refused(place: Path, tmp_path: Path) -> None:
    outcome = run("predict", place / "clf", tmp_path, "--json")
    assert (outcome.code, outcome.data["error"]["code"]) == (1, "no-images")


def test_labels_are_short_where_they_stay_apart() -> None:
    assert short_labels(["a/cat", "a/dog", "b/dog"]) == {
        "a/cat": "cat",
        "a/dog": "a/dog",
        "b/dog": "b/dog",
    }
    names_of_classes = ["Bag", "T-shirt/top"]
    assert short_labels(names_of_classes) == {name: name for name in names_of_classes}


def test_shares_are_written_one_way() -> None:
    shown = [str(Percent(x)) for x in (0.616666, 1, 0, -3.333e-7, 0.5)]
    assert shown == ["61.67 %", "100.00 %", "0.00 %", "0.00 %", "50.00 %"]
    assert [str(Points(x)) for x in (-3.333e-05, 1.234)] == ["0.00", "1.23"]


@pytest.mark.parametrize(
    ("name", "code"), [("data", "not-a-classifier"), ("nowhere", "not-a-classifier")]
)
def test_what_is_no_classifier_is_refused(place: Path, name: str, code: str) -> None:
    outcome = run("predict", place / name, place / "data/test/cat/0.png", "--json")
    assert outcome.code == 1
    assert outcome.data["error"]["code"] == code


def test_no_image_at_all_is_asked_wrongly(place: Path) -> None:
    assert run("predict", place / "clf").code == 2
