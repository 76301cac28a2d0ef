from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_module_is_described_in_words(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/7", "--registry", registry)

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == "digits/7 1.1.0"
    for words in (
        "recognizes   digits/7",
        "input        gray 8 x 8, mean 0.25, std 0.5",
        "precision 95.00 %, recall 90.00 %, average precision 0.969 (360 images, 36 of the class)",
        "27 parameters",
        "digits_cnn of 3 classes, accuracy 97.50 %",
        "license      Apache-2.0",
        "installed    no",
    ):
        assert words in outcome.out


def test_the_installed_release_is_described(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/7<1.1", "--registry", registry)

    outcome = run("info", "digits/7")

    assert outcome.out.splitlines()[0] == "digits/7 1.0.0"
    assert f"installed    {here}" in outcome.out


def test_json_holds_the_manifest(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/7==1.0.0", "--registry", registry, "--json")

    data = json.loads(outcome.out)
    manifest = registry / "digits" / "7" / "1.0.0" / "manifest.json"
    assert data["manifest"] == json.loads(manifest.read_bytes())
    assert data["registry"] == str(registry)
    assert data["path"] is None


def test_a_yanked_release_is_shown_with_the_reason(run: Run, registry: Path) -> None:
    path = registry / "digits" / "7" / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"yanked":null', b'"yanked":"wrong labels"'))

    outcome = run("info", "digits/7==1.0.0", "--registry", registry)

    assert outcome.code == 0
    assert outcome.err == "warning: this release is yanked: wrong labels\n"
    assert run("info", "digits/7", "--registry", registry).code == 1


def test_an_installed_release_that_was_yanked_since_is_shown_with_the_reason(
    run: Run, registry: Path
) -> None:
    run("install", "digits/7", "--registry", registry)
    run("yank", "digits/7==1.1.0", "--reason", "wrong labels", "--registry", registry)

    outcome = run("info", "digits/7")

    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "digits/7 1.1.0"
    assert outcome.err == "warning: this release is yanked: wrong labels\n"
    assert json.loads(run("info", "digits/7", "--json").out)["yanked"] == "wrong labels"
    # What was learned then is known without the registry.
    assert run("info", "digits/7", "--offline").err == outcome.err


def test_an_unknown_module_exits_with_1(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/77", "--registry", registry)

    assert outcome.code == 1
    assert "did you mean `digits/7`" in outcome.err


def test_a_folder_tells_what_it_is(run: Run, registry: Path, here: Path, dist: Path) -> None:
    folder = next(path.parent for path in sorted(dist.glob("**/manifest.json")))
    outcome = run("info", folder)
    assert outcome.code == 0
    assert f"folder       {folder}" in outcome.out
    assert "registry" not in outcome.out
    assert json.loads(run("info", folder, "--json").out)["registry"] is None
    (folder / "README.md").write_bytes(b"other")
    assert run("info", folder).code == 1

    others = {"run.json": "a run", "composition.json": "a composed classifier"}
    for file, what in others.items():
        (here / file).write_text("{}")
        outcome = run("info", "./")
        assert outcome.code == 1
        assert f"is {what}" in outcome.err
        (here / file).unlink()
    assert "is not a distribution" in run("info", "./nowhere").err

    # An installed name wins over a folder of that name.
    run("install", "digits/7", "--registry", registry)
    (here / "digits" / "7").mkdir(parents=True)
    (here / "digits" / "7" / "run.json").write_text("{}")
    assert run("info", "digits/7").code == 0
    assert "is a run" in run("info", "digits/7/").err
