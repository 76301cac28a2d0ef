from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_lockfile_is_mirrored(run: Run, registry: Path, tmp_path: Path) -> None:
    run("install", "digits/*", "--registry", registry)
    target = tmp_path / "mirror"

    dry = run("mirror", "--to", target, "--dry-run")
    copied = run("mirror", "--to", target)
    again = run("mirror", "--to", target, "--json")

    assert (dry.code, copied.code, again.code) == (0, 0, 0)
    assert dry.out == copied.out
    assert dry.err == "2 to be copied, 0 there already\n"
    assert copied.err == "2 copied, 0 there already\n"
    above, *lines = copied.out.splitlines()
    assert above == f"registry {target}"
    assert [line.split()[0] for line in lines] == ["name", "digits/7", "digits/8"]
    modules = json.loads(again.out)["modules"]
    assert [(module["name"], module["is_new"]) for module in modules] == [
        ("digits/7", False),
        ("digits/8", False),
    ]
    assert modules[0]["registry"] == str(target)


def test_the_target_must_be_named(run: Run) -> None:
    outcome = run("mirror")

    assert outcome.code == 2
    assert "--to" in outcome.err


def test_another_lockfile_is_mirrored(run: Run, registry: Path, here: Path, tmp_path: Path) -> None:
    run("install", "digits/7", "--registry", registry)
    other = here.rename(tmp_path / "other") / "modpm.lock"

    outcome = run("mirror", "--to", tmp_path / "mirror", "-r", other)

    assert outcome.code == 0
    assert (tmp_path / "mirror" / "digits" / "7").is_dir()
