from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_an_empty_project_has_no_modules(run: Run) -> None:
    assert run("list") == (0, "", "no modules are installed here\n")
    assert run("list", "--json") == (0, '{\n  "modules": []\n}\n', "")


def test_installed_modules_are_listed(run: Run, registry: Path) -> None:
    run("install", "digits/*", "--registry", registry)
    as_json = json.loads(run("install", "--json").out)

    listed = run("list")
    assert (listed.code, listed.err) == (0, "")
    rows = [line.split()[:2] for line in listed.out.splitlines()]
    assert rows[0] == ["registry", str(registry)]
    assert rows[1:] == [["name", "version"], ["digits/7", "1.1.0"], ["digits/8", "1.0.0"]]
    assert json.loads(run("list", "--json").out)["modules"] == as_json["modules"]
    names = [module["name"] for module in as_json["modules"]]
    assert names == ["digits/7", "digits/8"]


def test_what_was_yanked_is_listed_so_once_a_registry_was_asked(run: Run, registry: Path) -> None:
    run("install", "digits/*", "--registry", registry)
    run("yank", "digits/8==1.0.0", "--reason", "labels are swapped", "--registry", registry)

    before = run("list")
    asked = run("list", "--ask")

    assert "  state  " not in before.out
    assert [line.split()[-2] for line in asked.out.splitlines()[1:]] == ["state", "-", "yanked"]
    assert asked.err == "warning: digits/8 is yanked: labels are swapped\n"
    assert run("list") == asked
    modules = json.loads(run("list", "--json").out)["modules"]
    assert [module["yanked"] for module in modules] == [None, "labels are swapped"]
    assert run("verify", "--offline").err.startswith(asked.err)


def test_a_record_of_a_newer_version_exits_with_1(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/7", "--registry", registry)
    (here / ".modpm" / "installed.lock").write_text("format_version = 99")

    outcome = run("list")

    assert outcome.code == 1
    assert outcome.err.startswith("error: `installed.lock` was written by a newer version of modpm")
