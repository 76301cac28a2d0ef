from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from tests.composition.tiny_origins import images, publish, tiny_origin
from tests.composition.tiny_projects import make_project, run, tiny_modules
from tests.estimating.machines import made_up

import modpm
from modpm.core.estimating.machine import keep_machine
from modpm.core.formats.manifest import OwnScores

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("compose"))


@pytest.fixture
def project(shared_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shared_project)
    return shared_project


@pytest.mark.usefixtures("project")
def test_compose_prints_what_it_made_as_json(tmp_path: Path) -> None:
    outcome = run("compose", "tiny/cat", "tiny/dog", "-o", tmp_path / "clf", "--json")
    assert outcome.code == 0
    assert outcome.data["labels"] == ["tiny/cat", "tiny/dog"]
    assert outcome.data["path"] == str(tmp_path / "clf")
    assert outcome.data["strategy"] == "fused"
    (reason,) = outcome.data["reasons"]
    assert reason.startswith("tiny/cat, tiny/dog: fused, for fused costs ")
    classifier = modpm.Classifier.from_folder(tmp_path / "clf")
    for field in ("n_parameters", "macs", "origin_macs"):
        assert outcome.data[field] == getattr(classifier, field)


@pytest.mark.usefixtures("project")
def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(tmp_path: Path) -> None:
    outcome = run("compose", "tiny/cat", "tiny/dog", "-o", tmp_path / "clf", "--dry-run")
    made = run("compose", "tiny/cat", "tiny/dog", "--dry-run", "--json").data
    assert (outcome.code, made["path"]) == (0, None)
    assert f"{made['size_bytes']:,} bytes" in outcome.stderr
    modules = [modpm.load(name) for name in ("tiny/cat", "tiny/dog")]
    alone, whole = made["together"]["one_by_one"], made["together"]["together"]
    assert alone["macs"] == sum(module.manifest.macs for module in modules) > made["macs"]
    assert alone["n_parameters"] == sum(module.manifest.n_parameters for module in modules)
    assert alone["size_bytes"] > made["size_bytes"] == whole["size_bytes"]
    assert made["together"]["origins"]["macs"] == made["origin_macs"]
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("bytes of tensors"))
    numbers = [made["together"][key]["size_bytes"] for key in ("one_by_one", "together", "origins")]
    assert line.split()[3:] == [f"{number:,}" for number in numbers]
    assert "nothing was written" in outcome.stderr
    assert not (tmp_path / "clf").exists()
    missing = run("compose", "tiny/cat")
    assert missing.code == 2
    assert "--dry-run" in missing.stderr


@pytest.mark.usefixtures("project")
def test_a_dry_run_estimates_the_latency_where_the_machine_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    unknown = run("compose", "tiny/cat", "tiny/dog", "--dry-run")
    assert "latency: not known before `modpm benchmark --machine`" in unknown.stderr
    assert run("compose", "tiny/cat", "tiny/dog", "--dry-run", "--json").data["latency"] is None
    keep_machine(made_up(start=1e-3))
    known = run("compose", "tiny/cat", "tiny/dog", "--dry-run")
    assert " ms an image at batch 1, " in known.stderr
    assert "(estimated, for 1 thread of " in known.stderr
    data = run("compose", "tiny/cat", "tiny/dog", "tiny5/cat", "--alias", "tiny5/cat=other",
               "--dry-run", "--json").data  # fmt: skip
    one, many = (each["milliseconds"] for each in data["latency"]["estimates"])
    assert one == pytest.approx(64 * many)
    alone = run("compose", "tiny/cat", "--dry-run", "--json").data["latency"]["estimates"][0]
    assert one > alone["milliseconds"]
    made = run("compose", "tiny/cat", "-o", tmp_path / "clf", "--json").data
    assert "latency" not in made


@pytest.mark.usefixtures("project")
def test_compose_without_names_takes_all_installed_modules(tmp_path: Path) -> None:
    outcome = run("compose", "-o", tmp_path / "clf")
    assert outcome.code == 0
    for line, label in zip(
        outcome.stdout.splitlines()[1:],
        ["tiny/cat", "tiny/dog", "tiny4/frog", "tiny5/cat"],
        strict=True,
    ):
        assert line.startswith(f"{label} ")
    assert "4 labels, mixed" in outcome.stderr
    assert "tiny4/frog: independent, the only one of its origin" in outcome.stderr


@pytest.mark.usefixtures("project")
def test_a_pattern_takes_a_namespace_and_a_module_named_twice_is_one(tmp_path: Path) -> None:
    outcome = run("compose", "tiny/dog", "tiny/*", "-o", tmp_path / "clf", "--json")
    assert outcome.data["labels"] == ["tiny/dog", "tiny/cat"]


@pytest.mark.usefixtures("project")
def test_folders_of_distributions_compose_as_installed_modules_do(
    tmp_path: Path, shared_project: Path
) -> None:
    dist = shared_project.parent / "dist"
    outcome = run("compose", dist / "tiny.cat", dist / "tiny.dog", "-o", tmp_path / "a", "--json")
    assert outcome.data["labels"] == ["tiny/cat", "tiny/dog"]
    run("compose", "tiny/cat", "tiny/dog", "-o", tmp_path / "b")
    for name in ("config.json", "model.safetensors", "composition.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.usefixtures("project")
def test_an_alias_names_a_score(tmp_path: Path) -> None:
    outcome = run(
        *("compose", "tiny/cat", "tiny5/cat", "-o", tmp_path / "clf", "--json"),
        *("--alias", "tiny5/cat=tabby", "--alias", "tiny/cat=Pets/Old Cat"),
    )
    assert outcome.data["labels"] == ["pets/Old Cat", "tiny5/tabby"]


@pytest.mark.usefixtures("project")
def test_an_unknown_module_is_refused_with_what_may_be_meant(tmp_path: Path) -> None:
    outcome = run("compose", "tiny/kat", "-o", tmp_path / "clf")
    assert outcome.code == 1
    assert "error: `tiny/kat` is not installed" in outcome.stderr
    assert "hint: did you mean `tiny/cat`?" in outcome.stderr
    assert not (tmp_path / "clf").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["tiny/cat", "tiny5/cat", "--strategy", "fused"], 1, "different-origins"),
        (["tiny/cat", "--strategy", "magic"], 2, "unknown-strategy"),
        (["tiny/cat", "--reject", "7"], 2, "invalid-threshold"),
        (["tiny/cat", "--alias", "tiny/cat"], 2, "usage"),
        (["tiny/cat", "--alias", "tiny/dog=x"], 2, "unknown-alias"),
        (["tiny/cat", "tiny5/cat", "--alias", "tiny5/cat=tiny/cat"], 1, "same-label"),
        (["nowhere/*"], 1, "not-installed"),
        (["./nowhere"], 1, "not-a-distribution"),
    ],
)
def test_what_cannot_be_composed_is_refused_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], exit_code: int, code: str
) -> None:
    outcome = run("compose", *arguments, "-o", tmp_path / "clf", "--json")
    assert outcome.code == exit_code
    assert outcome.data["error"]["code"] == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("project")
def test_a_folder_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    outcome = run("compose", "tiny/cat", "-o", tmp_path, "--json")
    assert outcome.data["error"]["code"] == "folder-exists"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_project_without_modules_has_nothing_to_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("compose", "-o", "clf", "--json")
    assert outcome.data["error"]["code"] == "nothing-to-compose"


@pytest.mark.usefixtures("project")
def test_python_composes_and_loads_as_the_command_does() -> None:
    cat = modpm.load("tiny/cat")
    expected = tiny_modules()[0].score_images(images(3))
    assert torch.equal(cat.score_images(images(3)), expected)
    classifier = modpm.compose([cat, "Tiny5/Cat"], strategy="independent")
    assert classifier.labels == ("tiny/cat", "tiny5/cat")
    assert torch.equal(classifier.score_images(images(3))[:, 0], expected)


def publishing(folder: Path) -> Path:
    """Write a class module that says how high its scores are on images of its class."""
    quantiles = [-3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 2.0, 5.0]
    scores = OwnScores(
        split="validation",
        n=100,
        own=quantiles,
        highest=quantiles,
    )
    publish(tiny_origin().module("cat", own_scores=scores), folder)
    return folder


@pytest.mark.usefixtures("project")
def test_a_threshold_is_set_by_a_share_of_false_rejections(tmp_path: Path) -> None:
    module = publishing(tmp_path / "cat")
    outcome = run("compose", module, "--reject", "auto", "-o", tmp_path / "clf", "--json")
    assert outcome.data["reject"] == pytest.approx(1 / (1 + math.exp(1.0)))
    assert outcome.data["false_rejections"] == 0.05
    wider = ("--reject", "auto", "--false-rejections", "0.1")
    said = run("compose", module, *wider, "-o", tmp_path / "clf").stderr
    assert (
        "none of the above: where no label's own probability reaches 0.5, set for at most "
        "10.00 % of images of its labels"
    ) in said


@pytest.mark.usefixtures("project")
def test_modules_that_publish_no_scores_and_bad_thresholds_are_told(tmp_path: Path) -> None:
    output = ("-o", tmp_path / "clf")
    outcome = run("compose", "tiny/cat", "--reject", "auto", *output)
    assert outcome.code == 1
    assert "tiny/cat 1.0.0" in outcome.stderr
    assert "modpm modularize" in outcome.stderr
    outcome = run("compose", "tiny/cat", "--reject", "auto", "--calibrate", "photos", *output)
    assert outcome.code == 1
    assert "`--calibrate` and `--unlabeled` make other scores" in outcome.stderr
    assert run("compose", "tiny/cat", "--reject", "often", *output).code == 2
    outcome = run("compose", publishing(tmp_path / "cat"), "--reject", "1", *output)
    assert outcome.code == 1
    assert "the threshold 1 rejects everything" in outcome.stderr
    assert not (tmp_path / "clf").exists()
