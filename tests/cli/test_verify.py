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
    assert outcome.err == (
        "digits/7 1.1.0 is intact\ndigits/8 1.0.0 is intact\n2 modules verified\n"
    )
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
    assert "hint: run `modpm repair`" in outcome.err
    assert run("repair").err == (
        "! digits/7 was repaired in the store\n! digits/7 was repaired in the project\n"
    )
    assert run("verify").code == 0
