"""`modpm verify --accuracy`: what was recorded is measured again."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.composition.tiny_colors import color_project, make_color_photos
from tests.composition.tiny_projects import run

from modpm.core.classifiers.classifier import Classifier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accuracy")
    project = color_project(folder)
    make_color_photos(folder / "photos")
    where = ("--project", project, "-o", folder / "pets")
    assert run("compose", "weak/*", *where).code == 0
    assert run("evaluate", folder / "pets", folder / "photos", "--record").code == 0
    return folder


@pytest.fixture
def pets(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a classifier that was recorded at 75 % of 80 images; the project is another place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    return shutil.copytree(place / "pets", tmp_path / "pets")


def say_otherwise(pets: Path, **changes: object) -> None:
    """Change what a classifier was recorded at."""
    path = pets / "composition.json"
    composition: Any = json.loads(path.read_bytes())
    composition["measured"][0].update(changes)
    path.write_text(json.dumps(composition, sort_keys=True, separators=(",", ":")), "utf-8")


def test_the_recorded_accuracy_is_found_again(pets: Path, place: Path) -> None:
    outcome = run("verify", pets, "--accuracy", place / "photos", "--json")
    assert outcome.code == 0, outcome.stderr
    (check,) = outcome.data["accuracy"]
    assert check["has_same_images"] is True
    assert check["recorded"] == check["measured"] == {"accuracy": 0.75, "n": 80}
    assert check["allowed_points"] == pytest.approx(200 * math.sqrt(0.75 * 0.25 * 2 / 80))
    assert "moved by 0.00 points, two standard errors are 13.69" in outcome.stderr


@pytest.mark.parametrize(("recorded", "code"), [(0.85, 0), (0.65, 0), (0.95, 1), (0.5, 1)])
def test_only_what_chance_does_not_explain_fails(
    pets: Path, place: Path, recorded: float, code: int
) -> None:
    say_otherwise(pets, accuracy=recorded)
    outcome = run("verify", pets, "--accuracy", place / "photos", "--json")
    assert outcome.code == code
    if code:
        assert outcome.data["error"]["code"] == "accuracy-moved"
        assert "75.00 % of 80 now (the same images)" in outcome.data["error"]["why"]


def test_other_images_are_compared_with_the_newest_record(pets: Path, tmp_path: Path) -> None:
    make_color_photos(tmp_path / "others", n=5)
    outcome = run("verify", pets, "--accuracy", tmp_path / "others", "--json")
    (check,) = outcome.data["accuracy"]
    assert (check["has_same_images"], check["measured"]["n"]) == (False, 20)


def test_installed_compositions_are_measured_beside_their_bytes(place: Path) -> None:
    project, registry = place / "project", place / "registry"
    packed = ("--name", "acme/pets", "--license", "CC-BY-4.0", "-o", place / "dist" / "pets")
    assert run("pack", place / "pets", "--project", project, *packed).code == 0
    assert run("publish", place / "dist" / "pets", "--registry", registry).code == 0
    there = ("--project", project)
    assert run("install", "acme/pets", "--registry", registry, *there).code == 0
    outcome = run("verify", "--accuracy", place / "photos", "--json", *there)
    assert outcome.code == 0, outcome.stderr
    assert [check["subject"] for check in outcome.data["accuracy"]] == ["acme/pets"]
    assert len(outcome.data["modules"]) == 7


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("CLF",), "usage"),
        (("CLF", "--accuracy", "DATA", "--repair"), "usage"),
        (("nowhere", "--accuracy", "DATA"), "not-a-subject"),
        (("NEW", "--accuracy", "DATA"), "nothing-recorded"),
        (("CLF", "--accuracy", "nowhere/at/all"), "data-not-found"),
    ],
)
def test_what_cannot_be_compared_is_told(
    pets: Path, place: Path, words: tuple[str, ...], code: str
) -> None:
    new = Classifier.from_folder(pets)
    assert new.composition is not None
    new.composition.measured.clear()
    new.save(pets.parent / "new")
    places = {"CLF": pets, "DATA": place / "photos", "NEW": pets.parent / "new"}
    outcome = run("verify", *(places.get(word, word) for word in words), "--json")
    assert outcome.data["error"]["code"] == code
    assert outcome.code == (2 if code == "usage" else 1)
