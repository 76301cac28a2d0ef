from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_intact_modules_are_verified(run: Run, registry: Path) -> None:
    run("install", "digits/*", "--registry", registry)

    outcome = run("verify")

    assert outcome.code == 0
    assert outcome.err == "all is intact: 2 modules\n"
    names = [module["name"] for module in json.loads(run("verify", "--json").out)["modules"]]
    assert names == ["digits/7", "digits/8"]


def test_a_changed_file_exits_with_1_and_repairing_mends_it(
    run: Run, registry: Path, here: Path
) -> None:
    run("install", "digits/7", "--registry", registry)
    (path,) = (here / ".modpm").rglob("module.safetensors")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])

    outcome = run("verify")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: what is installed is not what is locked\n")
    assert "digits/7 1.1.0: module.safetensors: has 739 bytes" in outcome.err
    assert "hint: run `modpm verify --repair`" in outcome.err
    assert run("verify", "--repair").err.splitlines() == [
        "! repaired: digits/7 1.1.0: module.safetensors: has 739 bytes; the manifest says 740",
        "! repaired: digits/7 1.1.0: module.safetensors is damaged in the store",
        "all is intact: 1 module",
    ]
    assert run("verify").code == 0


def test_outside_of_a_project_there_is_nothing_to_verify(run: Run) -> None:
    outcome = run("verify", "--json")

    assert outcome.code == 1
    assert json.loads(outcome.out)["error"]["code"] == "no-project"
    run("init")
    assert run("verify") == (0, "", "all is intact: 0 modules\n")
