"""What starts without torch, and does not wait for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modpm.registry.installing.installation import install
from modpm.registry.signing.trusted_keys import trust

if TYPE_CHECKING:
    from tests.registry.conftest import Put

HEAVY = ("torch", "numpy", "PIL", "huggingface_hub", "datasets", "starlette", "jinja2", "uvicorn")
REGISTRY = Path(__file__).parents[2] / "registry"
WITH_A_CLIENT = {"object_store", "hub", "oci", "static"}  # imported only when they are opened
MODULES = sorted(
    ".".join(["modpm", "registry", *path.relative_to(REGISTRY).with_suffix("").parts])
    for path in REGISTRY.rglob("*.py")
    if path.stem != "__init__"
    and WITH_A_CLIENT.isdisjoint(path.relative_to(REGISTRY).with_suffix("").parts)
)


def imported(*arguments: str) -> set[str]:
    """Return the names of all packages that a python process imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    lines = [line for line in process.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_no_part_of_the_registry_imports_torch() -> None:
    code = "; ".join(f"import {module}" for module in MODULES)

    assert imported("-c", code).isdisjoint(HEAVY)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["install", "--help"]])
def test_the_command_starts_without_torch(
    arguments: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)

    assert imported("-m", "modpm.cli", *arguments).isdisjoint(HEAVY)


def test_the_version_is_said_before_anything_is_imported() -> None:
    found = imported("-m", "modpm.cli", "--version")

    assert found.isdisjoint({*HEAVY, "click", "typing", "inspect", "msgspec", "packaging", "json"})


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", ["login", "logout", "whoami"])
def test_help_of_a_verb_of_the_hub_imports_nothing_of_it(verb: str) -> None:
    found = imported("-m", "modpm.cli", verb, "--help")

    assert found.isdisjoint({*HEAVY, "httpx2", "msgspec", "cryptography"})


def test_installing_starts_without_torch(registry: Path, project: Path) -> None:
    registry.mkdir()
    (registry / "registry.json").write_text('{"format_version":1}')
    (project / "modpm.toml").write_text(f'registries = [{{ name = "r", url = "{registry}" }}]')

    arguments = ["-m", "modpm.cli", "install", "--project", str(project)]
    assert imported(*arguments).isdisjoint(HEAVY)
    assert (project / "modpm.lock").is_file()


@pytest.mark.parametrize("verb", ["install", "sync", "list", "tree", "verify", "lock"])
def test_a_verb_that_finds_everything_done_imports_no_library_for_other_work(
    verb: str, put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    trust("mnist", "sha256:" + "0" * 64)

    found = imported("-m", "modpm.cli", verb, "--project", str(project))

    assert found.isdisjoint(HEAVY)
    if verb in {"list", "sync"}:
        assert found.isdisjoint({"filelock", "logging", "subprocess", "email", "sqlite3"})
    if verb in {"install", "sync", "list", "tree"}:
        assert found.isdisjoint(
            {"tomlkit", "cryptography", "rich", "nab_resolver", "obstore", "httpx2", "concurrent"}
        )
