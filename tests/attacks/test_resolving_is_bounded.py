"""What a registry lists cannot keep a command busy for ever."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from modpm.registry.installing.installation import install
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

N_MODULES = 14
MOST_SECONDS = 10.0
"""Far more than a second of searching and the start of a process, for machines that are shared;
without a bound it is many minutes."""


def write_index(registry: Path, name: str, releases: list[dict[str, Any]]) -> None:
    folder = registry / "n" / name
    folder.mkdir(parents=True)
    document = {"format_version": 1, "name": f"n/{name}", "tags": {}, "releases": releases}
    (folder / "index.json").write_text(json.dumps(document))


@pytest.fixture
def registry(tmp_path: Path, repository: Path) -> Path:
    """Return a registry with 14 modules, no two of which go into one of 13 places together."""
    folder = tmp_path / "registry"
    publish([repository / "specs" / "vectors" / "distribution" / "digits-7"], folder)
    (published,) = folder.glob("digits/*/index.json")
    (listed,) = json.loads(published.read_bytes())["releases"]
    for i in range(N_MODULES):
        others = [j for j in range(N_MODULES) if j != i]
        releases = [
            listed | {"version": f"1.{p}.0", "requires": [f"n/m{j:02d}!=1.{p}.0" for j in others]}
            for p in range(N_MODULES - 1)
        ]
        write_index(folder, f"m{i:02d}", releases)
    return folder


@pytest.fixture
def project(tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    (name,) = [path.parent.name for path in registry.glob("digits/*/index.json")]
    install([f"digits/{name}"], folder, registry)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modpm.cli", *arguments],
        cwd=project,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("verb", ["install", "lock", "update"])
def test_a_search_without_an_end_is_ended(verb: str, project: Path) -> None:
    toml = project / "modpm.toml"
    wanted = ["n/*"] if verb == "install" else []
    if verb != "install":
        toml.write_text(toml.read_text().replace("requirements = [", 'requirements = ["n/*", '))
    before = contents(project)

    start = time.monotonic()
    ended = run(project, verb, *wanted, "--resolve-timeout", "1", "--json")

    assert time.monotonic() - start < MOST_SECONDS
    assert ended.returncode == 1
    error = json.loads(ended.stdout)["error"]
    assert error["code"] == "resolving-takes-too-long"
    assert "after 1 s and " in error["why"]
    assert "most in the way were `n/m" in error["why"]
    assert "--resolve-timeout" in error["hint"]
    assert contents(project) == before


def test_the_environment_bounds_a_search_where_no_option_does(project: Path) -> None:
    ended = run(project, "install", "n/*", MODPM_RESOLVE_TIMEOUT="0.5")

    assert ended.returncode == 1
    assert "after 0.5 s" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_long_search_says_how_far_it_is(project: Path) -> None:
    ended = run(project, "install", "n/*", "--resolve-timeout", "3")

    assert re.search(r"waiting for releases that go together: [\d,]+ versions", ended.stderr)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_bound_that_is_none_is_refused_before_anything_is_asked(
    seconds: str, project: Path
) -> None:
    before = contents(project)

    for said, ended in {
        "--resolve-timeout": run(project, "install", "n/*", "--resolve-timeout", seconds),
        "MODPM_RESOLVE_TIMEOUT": run(project, "install", "n/*", MODPM_RESOLVE_TIMEOUT=seconds),
    }.items():
        assert ended.returncode == 2
        assert f"at: {said}" in ended.stderr

    assert contents(project) == before
