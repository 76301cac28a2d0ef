"""`modpm evaluate --record`: a project knows how good its classifiers are."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.composition.tiny_colors import ColorOrigin, color_project, make_color_photos
from tests.composition.tiny_origins import publish
from tests.composition.tiny_projects import run

from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish as publish_to_registry

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.projects.measurements import LockedMeasurement


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a recorded classifier, and its photos, before a better cat comes."""
    folder = tmp_path_factory.mktemp("record")
    project = color_project(folder)
    make_color_photos(folder / "photos", n=5)
    assert run("compose", "weak/*", "--project", project, "-o", project / "pets").code == 0
    outcome = run("evaluate", project / "pets", folder / "photos", "--record", "--project", project)
    assert outcome.code == 0
    assert f"recorded in {project / 'pets' / 'composition.json'} and modpm.lock" in outcome.stderr
    better = ColorOrigin("weak").module("cat", slope=1.0, intercept=0.0, version="1.1.0")
    publish_to_registry([publish(better, folder / "dist" / "better")], folder / "registry")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "project", tmp_path / "project")


def measured(project: Path) -> list[LockedMeasurement]:
    return list(Project.discover(project).locked().measured)


def test_the_lock_says_what_the_composition_says(project: Path) -> None:
    (one,) = measured(project)

    assert (one.classifier, one.split, one.n, one.n_rejected) == ("pets", "test", 20, 0)
    assert one.accuracy == 0.75
    recalls = {name: (of.n, of.recall) for name, of in one.classes.items()}
    assert recalls == {"bird": (5, 1), "cat": (5, 0), "dog": (5, 1), "frog": (5, 1)}
    assert sorted(one.modules) == ["weak/bird", "weak/cat", "weak/dog", "weak/frog"]
    assert one.calibration_error is not None


def test_it_stays_while_the_modules_do(project: Path) -> None:
    before = measured(project)
    there = ("--project", project)

    assert run("lock", *there, "--json").data["is_changed"] is False
    assert run("sync", "--frozen", *there).code == 0
    assert run("remove", "other/cat", *there, "--json").data["unmeasured"] == []
    assert measured(project) == before
    assert run("verify", *there).code == 0


def test_it_goes_with_a_word_when_a_module_moves(project: Path) -> None:
    there = ("--project", project)
    said = "what pets was measured at is no longer in modpm.lock: its modules are others now"

    dry = run("update", "weak/cat", "--dry-run", *there, "--json")
    assert (dry.data["unmeasured"], len(measured(project))) == (["pets"], 1)
    assert "what pets was measured at would no longer be in modpm.lock" in dry.stderr
    assert said not in dry.stderr

    assert said in run("update", "weak/cat", *there).stderr
    assert measured(project) == []


def test_a_lock_of_other_modules_is_left_alone(project: Path, made: Path) -> None:
    assert run("update", "weak/cat", "--project", project).code == 0
    before = (project / "modpm.lock").read_bytes()

    outcome = run("evaluate", project / "pets", made / "photos", "--record", "--project", project)

    assert "and not in modpm.lock, which does not pin its class modules" in outcome.stderr
    assert (project / "modpm.lock").read_bytes() == before


def test_a_classifier_that_no_clone_has_is_not_in_the_lock(
    project: Path, made: Path, tmp_path: Path
) -> None:
    before = (project / "modpm.lock").read_bytes()
    shutil.move(project / "pets", tmp_path / "pets")
    (project / "linked").symlink_to(tmp_path / "pets")

    for folder in (tmp_path / "pets", project / "linked"):
        outcome = run("evaluate", folder, made / "photos", "--record", "--project", project)
        assert outcome.code == 0, outcome.stderr
        assert "and not in modpm.lock, which is of another folder" in outcome.stderr
    assert (project / "modpm.lock").read_bytes() == before


def test_a_lock_leads_out_of_no_project(project: Path, made: Path, tmp_path: Path) -> None:
    shutil.move(project / "pets", tmp_path / "pets")
    (project / "pets").symlink_to(tmp_path / "pets")

    outcome = run(
        "update", "--dry-run", "--accuracy", made / "photos", "--project", project, "--json"
    )

    assert (outcome.code, outcome.data["error"]["code"]) == (1, "nothing-recorded")


def everything_in(project: Path) -> dict[str, bytes]:
    """Return all files, but for what locks leave and registries said last."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_what_an_update_would_bring_is_measured_before_it_is_made(
    project: Path, made: Path
) -> None:
    there = ("--project", project, "--accuracy", made / "photos")
    before = everything_in(project)

    outcome = run("update", "--dry-run", *there, "--json")
    outdated = run("outdated", *there, "--json")

    assert (outcome.code, outdated.code) == (0, 0), outcome.stdout
    assert everything_in(project) == before
    (pets,) = outcome.data["accuracy"]
    assert outdated.data["accuracy"] == [pets]
    assert (pets["classifier"], pets["n"]) == ("pets", 20)
    assert pets["accuracy"] == {"before": 0.75, "after": 1.0}
    recalls = {label: one["recall"] for label, one in pets["per_class"].items()}
    same = {"before": 1.0, "after": 1.0}
    assert recalls == {
        "weak/bird": same,
        "weak/cat": {"before": 0.0, "after": 1.0},
        "weak/dog": same,
        "weak/frog": same,
    }
    told = run("outdated", *there).stdout
    assert "pets, before and after the update:" in told
    assert "cat *" in told


def test_other_images_tell_nothing_of_the_record(project: Path, tmp_path: Path) -> None:
    make_color_photos(tmp_path / "others", n=2)

    outcome = run(
        "update", "--dry-run", "--accuracy", tmp_path / "others", "--project", project, "--json"
    )

    assert (outcome.code, outcome.data["error"]["code"]) == (1, "nothing-recorded")
    assert "what was recorded is pets on " in outcome.data["error"]["why"]


def test_what_would_not_move_is_not_measured(project: Path, made: Path) -> None:
    options = ("--dry-run", "--accuracy", made / "photos", "--project", project)

    assert run("update", "weak/dog", *options, "--json").data["accuracy"] == []
    assert "no recorded classifier would change" in run("update", "weak/dog", *options).stderr


def test_measuring_is_for_what_is_not_done_yet(project: Path, made: Path) -> None:
    outcome = run("update", "--accuracy", made / "photos", "--project", project)
    assert (outcome.code, "goes with `--dry-run`" in outcome.stderr) == (2, True)


@pytest.mark.parametrize("harm", ["no-lock-entry", "no-folder"])
def test_without_a_record_there_is_nothing_to_compare(project: Path, made: Path, harm: str) -> None:
    if harm == "no-folder":
        shutil.rmtree(project / "pets")
    else:
        lock = project / "modpm.lock"
        lock.write_text(lock.read_text("utf-8").partition("\n[[measured]]")[0], "utf-8")

    options = ("--dry-run", "--accuracy", made / "photos", "--project", project, "--json")
    assert run("update", *options).data["error"]["code"] == "nothing-recorded"
