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
    assert run("info", "digits/7", "--offline").err == ""


def test_an_unknown_module_exits_with_1(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/77", "--registry", registry)

    assert outcome.code == 1
    assert "did you mean `digits/7`" in outcome.err
