"""`modpm replace`: one label of a classifier is scored by another module."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from tests.composition.tiny_colors import ColorOrigin, color_project, make_color_photos
from tests.composition.tiny_origins import CLASSES, images
from tests.composition.tiny_projects import run

import modpm
from modpm.core.composition.compose import compose_modules

if TYPE_CHECKING:
    from pathlib import Path

    from tests.composition.tiny_projects import Outcome

OTHERS = ("weak/bird", "weak/dog", "weak/frog")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replace")
    color_project(folder)
    make_color_photos(folder / "photos")
    make_color_photos(folder / "few", n=5, split="train")
    return folder


@pytest.fixture(scope="module")
def composed(place: Path) -> dict[str, Path]:
    """Return classifiers that never say cat, by how they are composed."""
    folders = {}
    for strategy in ("fused", "independent"):
        folders[strategy] = place / strategy
        where = ("--project", place / "project", "-o", folders[strategy])
        made = run("compose", "weak/*", "--strategy", strategy, *where)
        assert made.code == 0, made.stderr
    return folders


@pytest.fixture(params=["fused"])
def pets(
    request: pytest.FixtureRequest,
    composed: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a classifier that never says cat; the current folder is the project."""
    monkeypatch.chdir(composed[request.param].parent / "project")
    return shutil.copytree(composed[request.param], tmp_path / "pets")


both_ways = pytest.mark.parametrize("pets", ["fused", "independent"], indirect=True)


def replaced(pets: Path, place: Path, module: str, *more: str) -> Outcome:
    return run(
        *("replace", pets, "--class", "cat", "--with", module, "--data", place / "photos"),
        *("-o", pets.parent / "better"),
        *more,
    )


@both_ways
def test_a_module_of_another_size_gives_a_class_its_recall(pets: Path, place: Path) -> None:
    outcome = replaced(pets, place, "other/cat", "--json")
    assert outcome.code == 0, outcome.stderr
    measured = outcome.data["measured"]
    assert measured["accuracy"] == {"before": 0.75, "after": 1.0}
    assert measured["per_class"]["weak/cat"] == {
        "n": 20,
        "precision": {"before": None, "after": 1.0},
        "recall": {"before": 0.0, "after": 1.0},
    }
    assert all(measured["per_class"][name]["recall"]["after"] == 1.0 for name in OTHERS)
    assert outcome.data["module"]["name"] == "other/cat"
    judged = run("evaluate", pets.parent / "better", place / "photos", "--json")
    assert judged.data["accuracy"] == 1.0
    assert len(modpm.Classifier.from_folder(pets.parent / "better").contracts) == 2


def test_the_table_shows_every_class_before_and_after(pets: Path, place: Path) -> None:
    lines = replaced(pets, place, "other/cat").stdout.splitlines()
    assert lines[0].split() == [
        "label",
        *("precision", "after", "recall", "after"),
        "points",
        "images",
    ]
    row = next(line for line in lines if line.startswith("cat *"))
    assert row.split()[2:] == ["-", "100.00", "%", "0.00", "%", "100.00", "%", "100.00", "20"]
    assert lines[-1].startswith("accuracy 75.00 %, after 100.00 % of 80 images")


@both_ways
def test_the_scores_are_those_of_the_module_and_of_the_others(pets: Path, place: Path) -> None:
    assert replaced(pets, place, "other/cat").code == 0
    after = modpm.Classifier.from_folder(pets.parent / "better")
    before = modpm.Classifier.from_folder(pets)
    pixels = images(5, size=12)
    scores = after.score_images(pixels)
    torch.testing.assert_close(scores[:, 1], modpm.load("other/cat").score_images(pixels))
    others = [0, 2, 3]  # of the whole kernels, so that the rest loses none
    torch.testing.assert_close(scores[:, others], before.score_images(pixels)[:, others])


@both_ways
def test_what_was_replaced_is_packed_as_any_composition(pets: Path, place: Path) -> None:
    assert replaced(pets, place, "other/cat").code == 0
    outcome = run("pack", pets.parent / "better", "--name", "acme/pets", "-o", pets.parent / "dist")
    assert outcome.code == 0, outcome.stderr
    assert "other/cat==1.0.0" in outcome.stdout.split()
    assert "weak/cat==1.0.0" not in outcome.stdout.split()
    again = run("replace", pets.parent / "dist", "--class", "cat", "--with", "weak/cat", "--json")
    assert again.code == 0, again.stderr
    assert again.data["module"]["name"] == "weak/cat"


def test_a_module_takes_the_place_of_all_that_vote(pets: Path) -> None:
    voting = pets.parent / "voting"
    assert run("compose", "weak/*", "greedy/cat", "--ensemble", "-o", voting).code == 0
    assert len(modpm.Classifier.from_folder(voting).pins) == 5
    outcome = run("replace", voting, "--class", "cat", "--with", "other/cat", "-o", voting)
    assert outcome.code == 0, outcome.stderr
    names = [pin.name for pin in modpm.Classifier.from_folder(voting).pins]
    assert sorted(names) == ["other/cat", *OTHERS]
    outcome = run("replace", voting, "--class", "cat", "--with", "weak/cat", "-o", voting)
    back = modpm.Classifier.from_folder(voting)
    assert [len(scorer.labels) for scorer in back.networks()] == [4]


def test_adjustments_of_origins_that_stay_are_kept(pets: Path, place: Path) -> None:
    adjusted = pets.parent / "adjusted"
    named = ("weak/bird", "weak/dog", "other/cat", "--split", "test")
    made = run("compose", *named, "--calibrate", place / "photos", "-o", adjusted)
    assert made.code == 0, made.stderr
    before = modpm.Classifier.from_folder(adjusted).composition
    outcome = run("replace", adjusted, "--class", "cat", "--with", "greedy/cat", "-o", adjusted)
    assert outcome.code == 0, outcome.stderr
    after = modpm.Classifier.from_folder(adjusted).composition
    assert before is not None
    assert after is not None
    assert len(before.adjustments) == 2
    kept = [one for one in before.adjustments if one.origin == after.modules[0].origin]
    assert after.adjustments == kept


def test_another_class_that_loses_more_than_the_budget_is_told_and_nothing_is_written(
    pets: Path, place: Path
) -> None:
    outcome = replaced(pets, place, "greedy/cat", "--json")
    assert outcome.code == 1
    error = outcome.data["error"]
    assert error["code"] == "budget-not-met"
    assert "weak/dog: loses 100.00 points, from 100.00 % to 0.00 % of 20 images" in error["why"]
    assert "weak/cat: gains 100.00 points" in error["why"]
    assert "--budget 100.00" in error["hint"]
    assert not (pets.parent / "better").exists()
    assert replaced(pets, place, "greedy/cat", "--budget", "100").code == 0


def test_a_layer_lets_a_module_in_that_says_its_class_of_every_image(
    pets: Path, place: Path
) -> None:
    outcome = replaced(pets, place, "greedy/cat", "--calibrate", str(place / "few"), "--json")
    assert outcome.code == 0, outcome.stderr
    assert "one linear layer over all scores, fitted to 20 labeled images" in outcome.stderr
    assert outcome.data["calibrated"]["is_better"] is True
    assert outcome.data["calibrated"]["accuracy_after"] == 1.0
    assert outcome.data["measured"]["accuracy"] == {"before": 0.75, "after": 1.0}
    better = pets.parent / "better"
    judged = run("evaluate", better, place / "photos", "--json")
    assert judged.data["accuracy"] == 1.0

    packed = run("pack", better, "--name", "acme/pets", "-o", pets.parent / "dist")
    assert packed.code == 0, packed.stderr
    again = run("compose", pets.parent / "dist", "-o", pets.parent / "again")
    assert again.code == 0, again.stderr
    one, other = (
        json.loads((folder / "composition.json").read_bytes())
        for folder in (better, pets.parent / "again")
    )
    assert one["linear"] == other["linear"]
    assert len(one["linear"]["weight"]) == 4
    onward = run("replace", better, "--class", "cat", "--with", "other/cat", "-o", better)
    assert "fitted to the module before, and is left out" in onward.stderr
    assert "linear" not in json.loads((better / "composition.json").read_bytes())


def test_a_layer_that_is_no_better_is_left_out_and_that_is_said(pets: Path, place: Path) -> None:
    outcome = replaced(pets, place, "other/cat", "--calibrate", str(place / "few"), "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.data["calibrated"]["is_better"] is False
    assert "no better by its standard error, scores stay as they are" in outcome.stderr
    assert "linear" not in json.loads((pets.parent / "better" / "composition.json").read_bytes())


@pytest.mark.parametrize(
    ("numbers", "code", "found"),
    [
        ({"cat": 3, "dog": 3, "bird": 3}, "label-without-images", "weak/frog: 0"),
        ({"cat": 1, "dog": 3, "bird": 3, "frog": 3}, "too-few-images", "weak/cat: 1"),
        ({"cat": 1}, "label-without-images", "weak/dog: 0"),
        ({"wolf": 3, "boar": 3}, "no-common-class", "boar, wolf"),
    ],
)
def test_images_that_no_layer_can_be_fitted_to_are_refused_with_what_was_found(
    pets: Path, place: Path, numbers: dict[str, int], code: str, found: str
) -> None:
    photo = place / "photos" / "test" / "cat" / "00.png"
    for name, n in numbers.items():
        folder = pets.parent / "images" / "train" / name
        folder.mkdir(parents=True)
        for i in range(n):
            shutil.copy(photo, folder / f"{i}.png")
    fitting = ("--calibrate", str(pets.parent / "images"), "--json")
    outcome = replaced(pets, place, "other/cat", *fitting)
    assert outcome.code == 1
    assert outcome.data["error"]["code"] == code
    assert found in outcome.data["error"]["why"]
    assert not (pets.parent / "better").exists()


def test_without_a_folder_nothing_is_written(pets: Path, place: Path) -> None:
    kept = (pets / "composition.json").read_bytes()
    outcome = run(
        "replace", pets, "--class", "cat", "--with", "other/cat", "--data", place / "photos"
    )
    assert outcome.code == 0
    assert "nothing was written" in outcome.stderr
    assert sorted(path.name for path in pets.parent.iterdir()) == ["pets"]
    assert (pets / "composition.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"--class": "kat"}, "unknown-label", "weak/cat"),
        ({"--with": "weak/cat"}, "already-composed", "weak/cat 1.0.0"),
        (
            {"--class": "dog", "--with": "greedy/cat", "--data": "PHOTOS"},
            "budget-not-met",
            "bird: loses",
        ),
        ({"--with": "weak/dog", "--data": "PHOTOS"}, "already-composed", "`weak/dog`"),
        ({"--class": "dog"}, "class-mismatch", "weak/dog"),
        ({"--with": "other/kat"}, "not-installed", "other/cat"),
        ({"--budget": "-1"}, "bad-setting", "-1"),
        ({"--data": "nowhere/at/all"}, "data-not-found", "nowhere"),
        ({"COMPOSITION": "weak/cat"}, "not-a-composition", "weak/cat"),
        ({"COMPOSITION": "nowhere"}, "not-a-composition", "nowhere"),
    ],
)
def test_what_cannot_be_replaced_is_refused(
    pets: Path, place: Path, changes: dict[str, str], code: str, told: str
) -> None:
    options = {"--class": "cat", "--with": "other/cat", **changes}
    subject = options.pop("COMPOSITION", str(pets))
    options = {
        name: str(place / "photos") if value == "PHOTOS" else value
        for name, value in options.items()
    }
    words = [word for option in options.items() for word in option]
    outcome = run("replace", subject, *words, "-o", pets.parent / "better", "--json")
    assert outcome.data["error"]["code"] == code
    assert told in json.dumps(outcome.data["error"])
    assert outcome.code == (2 if code in ("unknown-label", "bad-setting") else 1)
    assert not (pets.parent / "better").exists()


def test_data_that_does_not_show_the_class_is_refused(pets: Path) -> None:
    make_color_photos(pets.parent / "few")
    for photo in (pets.parent / "few" / "test" / "cat").iterdir():
        photo.unlink()
    (pets.parent / "few" / "test" / "cat").rmdir()
    outcome = run(
        *("replace", pets, "--class", "cat", "--with", "other/cat", "--json"),
        *("--data", pets.parent / "few"),
    )
    assert outcome.data["error"]["code"] == "unknown-class"
    assert "no image shows `weak/cat`" in outcome.data["error"]["what"]


def test_a_classifier_whose_modules_are_not_installed_says_which(tmp_path: Path) -> None:
    classifier = compose_modules([ColorOrigin("weak").module(name) for name in CLASSES])
    classifier.save(tmp_path / "clf")
    outcome = run("replace", tmp_path / "clf", "--class", "cat", "--with", "other/cat", "--json")
    assert outcome.data["error"]["code"] == "not-released"
