from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
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


def test_several_are_shown_beside_each_other_and_what_they_cost_together(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = run("info", "digits/7<1.1", "digits/8", "--registry", registry)
    whole = run("info", "digits/*", "--registry", registry, "--json")
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run("info", "digits/*", "--registry", registry)

    assert (named.code, named.err) == (0, "")
    titles, seven, eight, of, *costs = named.out.splitlines()
    assert titles.split() == ["name", "version", "size", "precision", "recall", "there"]
    assert seven.startswith("digits/7  1.0.0 ")
    assert eight.split()[-5:] == ["95.00", "%", "90.00", "%", "no"]
    assert of.split() == [
        "2",
        "modules",
        *["of", "one", "origin", "one", "by", "one", "together", "the", "origin"],
    ]
    assert [line.split()[0] for line in costs] == ["bytes", "parameters", "multiply-accumulates"]
    data = json.loads(whole.out)
    assert [one["version"] for one in data["modules"]] == ["1.1.0", "1.0.0"]
    together = data["together"]
    assert together["one_by_one"]["size_bytes"] == sum(m["size_bytes"] for m in data["modules"])
    assert together["together"]["size_bytes"] < together["one_by_one"]["size_bytes"]
    assert max(map(len, narrow.out.splitlines())) <= 80


def test_of_one_module_nothing_is_said_of_others(run: Run, registry: Path) -> None:
    assert "one by one" not in run("info", "digits/7", "--registry", registry).out
    alone = json.loads(run("info", "digits/7", "--registry", registry, "--json").out)
    assert alone["together"]["n_modules"] == 1


def test_offline_a_namespace_is_what_is_installed_of_it(run: Run, registry: Path) -> None:
    absent = run("info", "digits/*", "--offline")
    run("install", "digits/7", "--registry", registry)
    outcome = run("info", "digits/*", "--offline", "--json")

    assert (absent.code, json.loads(outcome.out)["modules"][0]["name"]) == (1, "digits/7")
    assert "is not installed, and no registry may be asked" in absent.err
    assert len(json.loads(run("info", "digits/*", "--json").out)["modules"]) == 2


def test_a_yank_among_several_is_told_with_its_release(run: Run, registry: Path) -> None:
    run("install", "digits/7", "digits/8", "--registry", registry)
    run("yank", "digits/8==1.0.0", "--reason", "wrong labels", "--registry", registry)

    outcome = run("info", "digits/7", "digits/8")

    assert outcome.err == "warning: digits/8 1.0.0 is yanked: wrong labels\n"
