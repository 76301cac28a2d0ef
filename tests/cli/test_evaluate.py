from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tests.composition.tiny_origins import tiny_origin
from tests.composition.tiny_projects import make_image_folder, make_project, run

from modpm.core.classifiers.classifier import Classifier
from modpm.core.composition.compose import compose_modules
from modpm.core.data import load_data
from modpm.core.formats import canonical_json
from modpm.core.tensors import save_tensors
from modpm.core.training.run import Run
from modpm.verbs.judging import predict

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    make_project(folder)
    make_image_folder(folder / "data")
    return folder


@pytest.fixture(autouse=True)
def classifier(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a classifier that calls almost everything none of the above."""
    monkeypatch.chdir(place / "project")
    assert run("compose", "tiny/*", "--reject", "0.99", "-o", tmp_path / "clf").code == 0
    return tmp_path / "clf"


def test_evaluate_prints_the_fields_that_scripts_rely_on(place: Path, classifier: Path) -> None:
    outcome = run("evaluate", classifier, place / "data", "--json")
    assert outcome.code == 0
    assert outcome.data["n"] == 6
    assert outcome.data["n_left_out"] == 6
    assert outcome.data["per_class"].keys() == {"tiny/cat", "tiny/dog"}
    assert outcome.data["per_class"]["tiny/cat"].keys() == {"precision", "recall", "n"}
    assert 0 <= outcome.data["n_rejected"] <= 6


def test_evaluate_prints_a_table_and_the_accuracy(place: Path, classifier: Path) -> None:
    outcome = run("evaluate", classifier, place / "data")
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["label", "precision", "recall", "images"]
    assert lines[-1].startswith("accuracy ")
    assert "of 6 images" in lines[-1]


def test_open_set_judges_every_image(place: Path, classifier: Path) -> None:
    outcome = run("evaluate", classifier, place / "data", "--open-set", "--json")
    assert (outcome.data["n"], outcome.data["n_left_out"]) == (12, 0)
    assert outcome.data["known"].keys() == {"n_known", "auroc", "false_rejections"}
    assert outcome.data["known"]["n_known"] == 6
    said = run("evaluate", classifier, place / "data", "--open-set").stdout
    assert (
        f"AUROC, images of the labels against others: {outcome.data['known']['auroc']:.4f}" in said
    )
    assert "false rejections: " in said


def test_the_auroc_of_an_open_set_is_recorded(place: Path, classifier: Path) -> None:
    outcome = run("evaluate", classifier, place / "data", "--open-set", "--record", "--json")
    (measured,) = json.loads((classifier / "composition.json").read_bytes())["measured"]
    assert measured["auroc"] == outcome.data["known"]["auroc"]
    assert measured["false_rejections"] == outcome.data["known"]["false_rejections"]


def test_a_classifier_that_rejects_every_image_is_warned_of(place: Path) -> None:
    run("compose", "tiny/cat", "--reject", "1", "-o", "strict")
    outcome = run("evaluate", "strict", place / "data", "--json")
    assert outcome.data["n_rejected"] == outcome.data["n"]
    assert "every image was none of the above" in outcome.stderr


def test_classes_and_map_choose_what_is_judged(place: Path, classifier: Path) -> None:
    outcome = run(
        *("evaluate", classifier, place / "data", "--json"),
        *("--classes", "cat,bird", "--map", "tiny/dog=bird"),
    )
    assert outcome.data["n"] == 6
    assert outcome.data["confusion"]["classes"] == ["bird", "cat"]


@pytest.mark.parametrize("name", ["tiny/cat", "../dist/tiny.cat"])
def test_an_installed_module_and_a_distribution_answer_yes_or_no(place: Path, name: str) -> None:
    outcome = run("evaluate", name, place / "data", "--json")
    assert outcome.data["n"] == 12
    assert list(outcome.data["per_class"]) == ["tiny/cat"]
    assert 0 <= outcome.data["average_precision"] <= 1


def test_record_writes_the_accuracy_into_the_classifier_once(place: Path, classifier: Path) -> None:
    for _ in range(2):
        outcome = run("evaluate", classifier, place / "data", "--record", "--json")
    (measured,) = json.loads((classifier / "composition.json").read_bytes())["measured"]
    assert measured["accuracy"] == outcome.data["accuracy"]
    assert measured["fingerprint"].startswith("sha256:")
    assert measured["calibration_error"] == outcome.data["calibration_error"]
    recalls = [one["recall"] for one in outcome.data["per_class"].values()]
    assert measured["per_class"] == [{"n": 3, "recall": recall} for recall in recalls]
    assert "accuracy " in (classifier / "README.md").read_text()
    assert Classifier.from_folder(classifier).composition is not None


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["nowhere", "DATA"], 1, "not-a-subject"),
        (["..", "DATA"], 1, "not-a-subject"),
        (["tiny/kat", "DATA"], 1, "not-a-subject"),
        (["CLF", "nowhere/at/all"], 1, "data-not-found"),
        (["CLF", "DATA", "--classes", "kat"], 2, "unknown-class"),
        (["CLF", "DATA", "--map", "tiny/cat"], 2, "usage"),
        (["CLF", "DATA", "--record", "--classes", "cat"], 2, "cannot-record"),
        (["tiny/cat", "DATA", "--record"], 2, "cannot-record"),
        (["CLF"], 2, "usage"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    place: Path, classifier: Path, arguments: list[str], exit_code: int, code: str
) -> None:
    places = {"CLF": str(classifier), "DATA": str(place / "data")}
    outcome = run("evaluate", *(places.get(one, one) for one in arguments), "--json")
    assert outcome.data["error"]["code"] == code
    assert outcome.code == exit_code


def test_a_damaged_image_is_named_or_skipped_and_counted(tmp_path: Path, classifier: Path) -> None:
    data = make_image_folder(tmp_path / "data")
    (data / "test" / "cat" / "0.png").write_bytes(b"no image")
    outcome = run("evaluate", classifier, data)
    assert outcome.code == 1
    assert "0.png" in outcome.stderr
    assert run("evaluate", classifier, data, "--skip-bad", "--json").data["n"] == 5


def test_images_that_a_run_was_trained_with_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    chance = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(16):
            pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    train = ("train", folder, "--arch", "digits_cnn", "--width", "0.25", "--method", "plain")
    assert run(*train, "--epochs", "1", "-o", tmp_path / "run").code == 0
    outcome = run("evaluate", tmp_path / "run", folder, "--json")
    assert (outcome.data["n_trained_on"], outcome.stderr) == (0, "")
    used = Run.open(tmp_path / "run")
    known = [*used.training_data().images[:2], *used.validation_data().images[:1]]
    for i, pixels in enumerate([*known, 255 - known[0]]):
        place = tmp_path / "others" / "test" / ("cat" if i % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place / f"{i}.bmp")
    outcome = run("evaluate", tmp_path / "run", tmp_path / "others", "--json", "--quiet")
    assert outcome.data["n_trained_on"] == 3
    assert outcome.stderr.startswith("warning: 3 images of this split are among those")
    told = tmp_path / "run" / "images.safetensors"
    save_tensors(told, {"others": torch.zeros(2)})
    outcome = run("evaluate", tmp_path / "run", tmp_path / "others", "--json")
    assert "n_trained_on" not in outcome.data
    told.unlink()
    outcome = run("evaluate", tmp_path / "run", tmp_path / "others", "--json")
    assert "n_trained_on" not in outcome.data


def test_a_module_tells_that_it_is_judged_on_the_images_of_its_origin(
    tmp_path: Path, place: Path
) -> None:
    data = make_image_folder(tmp_path / "data")
    shutil.copytree(place / "dist" / "tiny.cat", tmp_path / "cat")
    manifest = json.loads((tmp_path / "cat" / "manifest.json").read_bytes())
    manifest["provenance"]["fingerprint"] = load_data(data, "test", image_size=8).fingerprint
    (tmp_path / "cat" / "manifest.json").write_bytes(canonical_json.encode(manifest))
    assert run("evaluate", tmp_path / "cat", data, "--json").data["n_trained_on"] == 12


def test_images_are_judged_as_they_are_predicted_whatever_sizes_modules_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of 8 and of 6 pixels, in color and in gray, see images of 33 x 20."""
    modules = [
        tiny_origin().module("cat"),
        tiny_origin(seed=1, size=6, channels=1).module("dog"),
        tiny_origin(seed=2, size=12).module("frog"),
    ]
    compose_modules(modules).save(tmp_path / "clf")
    chance = np.random.default_rng(0)
    for name in ("cat", "dog", "frog"):
        folder = tmp_path / "data" / "test" / name
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = chance.integers(0, 256, (20, 33, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    judged: list[Tensor] = []
    decide = Classifier.decide

    def recorded(self: Classifier, scores: Tensor) -> Tensor:
        judged.append(scores)
        return decide(self, scores)

    monkeypatch.setattr(Classifier, "decide", recorded)
    assert run("evaluate", tmp_path / "clf", tmp_path / "data").code == 0
    paths = sorted((tmp_path / "data").rglob("*.png"))
    said = [one.prediction for one in predict(tmp_path / "clf", paths)]
    predicted = [list(one.scores.values()) for one in said if one is not None]
    torch.testing.assert_close(judged[0], torch.tensor(predicted))
