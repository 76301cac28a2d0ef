"""`modpm patch`: one class of an ordinary network is scored by a module."""

from __future__ import annotations

import json
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
