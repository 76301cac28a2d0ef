"""`modpm patch`: one class of an ordinary network is scored by a module."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from tests.composition.tiny_colors import MeanColor, color_project, make_color_photos
from tests.composition.tiny_origins import images
from tests.composition.tiny_projects import run

import modpm
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.composition.tiny_projects import Outcome

KNOWN: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3, "image_size": 8}
OPTIONS = ("--arch", "tests.composition.tiny_colors:color_network", "--mean", "0,0,0",
           "--std", "1,1,1", "--image-size", "8")  # fmt: skip
OTHERS = ("photos/bird", "photos/dog", "photos/frog")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos, a project, and weights of a network that never says cat."""
    folder = tmp_path_factory.mktemp("patch")
    color_project(folder)
    make_color_photos(folder / "photos")
    make_color_photos(folder / "photos", split="train")
    make_color_photos(folder / "few", n=5, split="train")
    save_file(MeanColor({"cat": -100}).state_dict(), folder / "weak.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _in_the_project(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "project")


def test_a_module_of_another_size_gives_a_network_a_class(place: Path, tmp_path: Path) -> None:
    outcome = run(
        *("patch", place / "weak.safetensors", *OPTIONS, "--data", place / "photos"),
        *("--class", "cat", "--with", "other/cat", "-o", tmp_path / "patched", "--json"),
    )
    assert outcome.code == 0, outcome.stderr
    measured = outcome.data["measured"]
    assert measured["accuracy"] == {"before": 0.75, "after": 1.0}
    assert measured["per_class"]["photos/cat"]["recall"] == {"before": 0.0, "after": 1.0}
    assert all(measured["per_class"][one]["recall"]["after"] == 1.0 for one in OTHERS)
    judged = run("evaluate", tmp_path / "patched", place / "photos", "--json")
    assert judged.data["accuracy"] == 1.0
    packed = ("--name", "acme/patched", "-o", tmp_path / "dist", "--json")
    refused = run("pack", tmp_path / "patched", *packed).data["error"]
    assert refused["code"] == "not-released"
    assert "modpm patch NETWORK" in refused["hint"]


def test_a_network_keeps_the_order_of_its_logits_and_the_module_its_scores(place: Path) -> None:
    network = MeanColor({"cat": -100}).eval()
    made = modpm.patch(network, "cat", "other/cat", data=str(place / "photos"), **KNOWN)
    pixels = images(50, size=8)
    scores = made.classifier.score_images(pixels)
    with torch.inference_mode():
        logits = network(pixels / 255)
    others = [0, 2, 3]
    slope = (scores[:, others] - scores[:, :1])[:, 1:] / (logits[:, others] - logits[:, :1])[:, 1:]
    assert float(slope.min()) > 0
    torch.testing.assert_close(slope, slope[0, 0].expand(slope.shape), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores[:, 1], modpm.load("other/cat").score_images(pixels))
    assert made.comparison is not None
    assert made.comparison.gained("photos/cat") == 100.0


def test_a_run_is_patched_on_its_own_data(place: Path, tmp_path: Path) -> None:
    train = ("train", place / "photos", "--arch", "digits_cnn", "--width", "0.25")
    more = ("--method", "plain", "--epochs", "1", "--image-size", "8", "-o", tmp_path / "run")
    assert run(*train, *more).code == 0
    which = ("--class", "cat", "--with", "other/cat", "--budget", "100")
    outcome = run("patch", tmp_path / "run", *which, "--json")
    assert outcome.code == 0, outcome.stderr
    before = run("evaluate", tmp_path / "run", place / "photos", "--json").data
    assert outcome.data["measured"]["accuracy"]["before"] == before["accuracy"]
    assert outcome.data["path"] is None
    fitting = ("--calibrate", place / "photos")
    outcome = run("patch", tmp_path / "run", *which, *fitting)
    assert "trained with 80 of the 80 images that calibrate: it is surer" in outcome.stderr


RELEASE = ("--name", "acme/patched", "--license", "CC-BY-4.0", "--author", "Ada")


def patch(place: Path, *more: object) -> Outcome:
    network = ("patch", place / "weak.safetensors", *OPTIONS, "--data", place / "photos")
    return run(*network, "--class", "cat", *map(str, more))


def told(outcome: Outcome) -> list[list[str]]:
    """Return the words of the commands that were printed, each on a line of its own."""
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("  modpm ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize(
    ("name", "fitting"),
    [("acme/patched", ()), ("fitted/pets", ("--calibrate", "few", "--with", "greedy/cat"))],
)
def test_what_is_patched_is_published_and_is_the_same_for_a_stranger(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fitting: tuple[str, ...],
) -> None:
    given = [str(place / "few") if one == "few" else one for one in fitting]
    namespace, _, own = name.partition("/")
    made = patch(
        place,
        *("--with", "other/cat", *given, "--dist", tmp_path / "dist", *RELEASE, "--name", name),
        *("-o", tmp_path / "patched"),
    )
    assert made.code == 0, made.stderr
    mine = modpm.Classifier.from_folder(tmp_path / "patched")
    assert [pin.name for pin in mine.pins][::2] == [f"{namespace}/bird", f"{namespace}/dog"]

    publish, install, compose = told(made)
    published = run(*publish)
    assert published.code == 0, published.stderr
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"bird", "dog", "frog", own}
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    for words in (["init"], install, compose):
        outcome = run(*words)
        assert outcome.code == 0, outcome.stderr
    theirs = modpm.Classifier.from_folder(tmp_path / "theirs" / own)
    pixels = images(50, size=12)
    assert torch.equal(theirs.score_images(pixels), mine.score_images(pixels))
    assert theirs.labels == mine.labels
    assert bool(mine.weight is None) == (not fitting)


def test_the_modules_of_the_network_give_what_the_network_does(place: Path, tmp_path: Path) -> None:
    where = ("--dist", str(tmp_path / "dist"), *RELEASE, "-o", str(tmp_path / "one"))
    assert patch(place, "--with", "other/cat", *where).code == 0
    assert patch(place, "--with", "other/cat", "-o", tmp_path / "other").code == 0
    one, other = (modpm.Classifier.from_folder(tmp_path / name) for name in ("one", "other"))
    pixels = images(50, size=8)
    assert one.labels == other.labels
    torch.testing.assert_close(one.score_images(pixels), other.score_images(pixels))
    bird = modpm.load(tmp_path / "dist" / "bird").manifest
    assert bird.kernel_retention_rate == 1.0
    assert [one.split for one in bird.metrics] == ["test"]


def test_a_module_that_no_registry_has_is_published_along(place: Path, tmp_path: Path) -> None:
    folder = next(path for path in (place / "dist").iterdir() if path.name == "other.cat")
    made = patch(place, "--with", folder, "--dist", tmp_path / "dist", *RELEASE)
    assert made.code == 0, made.stderr
    publish = told(made)[0]
    assert publish == ["publish", str(tmp_path / "dist"), str(folder)]
    outcome = run(*publish, "--registry", tmp_path / "new", "--dry-run")
    assert outcome.code == 0, outcome.stderr
    assert "5 would be published" in outcome.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--with", "greedy/cat", "--dist", "DIST", *RELEASE), "budget-not-met"),
        (("--with", "other/cat", "--dist", "DIST"), "usage"),
        (("--with", "other/cat", "--dist", "DIST", *RELEASE[:2]), "usage"),
        (("--with", "other/cat", *RELEASE), "usage"),
        (("--with", "other/cat", "--version", "2.0.0"), "usage"),
        (
            ("--with", "other/cat", "--dist", "DIST", "--name", "acme/dog", *RELEASE[2:]),
            "same-name",
        ),
        (("--with", "other/cat", "--dist", "DIST", "--name", "dog", *RELEASE[2:]), "invalid-name"),
        (
            ("--with", "other/cat", "--dist", "DIST", *RELEASE, "--version", "1+local"),
            "invalid-version",
        ),
    ],
)
def test_what_cannot_be_published_so_is_refused_and_nothing_is_written(
    place: Path, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    given = [str(tmp_path / "dist") if word == "DIST" else word for word in words]
    outcome = patch(place, *given, "-o", tmp_path / "patched", "--json")
    assert outcome.data["error"]["code"] == code
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "notes.txt").write_text("mine")
    outcome = patch(place, "--with", "other/cat", "--dist", tmp_path / "dist", *RELEASE, "--json")
    assert outcome.data["error"]["code"] == "folder-exists"
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["notes.txt"]


def test_a_layer_is_fitted_where_log_odds_do_not_fit_each_other(
    place: Path, tmp_path: Path
) -> None:
    outcome = run(
        *("patch", place / "weak.safetensors", *OPTIONS, "--data", place / "photos"),
        *("--class", "cat", "--with", "greedy/cat", "--calibrate", place / "few"),
        *("-o", tmp_path / "patched", "--json"),
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.data["calibrated"]["is_better"] is True
    assert outcome.data["measured"]["accuracy"] == {"before": 0.75, "after": 1.0}
    judged = run("evaluate", tmp_path / "patched", place / "photos", "--json")
    assert judged.data["accuracy"] == 1.0
    exported = run("export", tmp_path / "patched", "-o", tmp_path / "patched.onnx")
    assert exported.code == 0, exported.stderr


def test_a_module_that_costs_other_classes_too_much_is_refused(place: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        modpm.patch(MeanColor({}), "cat", "greedy/cat", data=str(place / "photos"), **KNOWN)
    assert caught.value.code == "budget-not-met"
    assert "photos/dog: loses 100.00 points" in str(caught.value.why)


def test_a_module_of_another_class_is_refused_for_what_the_class_loses(place: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        modpm.patch(MeanColor({}), "cat", "weak/dog", data=str(place / "photos"), **KNOWN)
    assert caught.value.code == "budget-not-met"
    assert str(caught.value.why).startswith("photos/cat: loses 100.00 points")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"--class": "kat"}, "unknown-label", "photos/cat"),
        ({"--with": "other/kat"}, "not-installed", "other/cat"),
        ({"--mean": "0,0"}, "bad-setting", "mean [0.0, 0.0]"),
        ({"--data": "nowhere/at/all"}, "data-not-found", "nowhere"),
        ({"NETWORK": "nowhere"}, "run-not-found", "nowhere"),
        ({"--split": "val"}, "split-not-found", "val"),
    ],
)
def test_what_cannot_be_patched_is_refused(
    place: Path, tmp_path: Path, changes: dict[str, str], code: str, told: str
) -> None:
    given = dict(zip(OPTIONS[::2], OPTIONS[1::2], strict=True))
    asked = {"--data": str(place / "photos"), "--class": "cat", "--with": "other/cat"}
    options = {**given, **asked, **changes}
    network = options.pop("NETWORK", str(place / "weak.safetensors"))
    if network == "nowhere":
        options = {name: options[name] for name in ("--class", "--with")}
    words = [word for option in options.items() for word in option]
    outcome = run("patch", network, *words, "-o", tmp_path / "patched", "--json")
    assert outcome.data["error"]["code"] == code
    assert told in json.dumps(outcome.data["error"])
    assert not (tmp_path / "patched").exists()
