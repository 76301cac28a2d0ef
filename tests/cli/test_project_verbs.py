"""The verbs that change a project: their words, their JSON, their exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Outcome, Run


def data(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def error(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.out)["error"]
    return found


def versions(outcome: Outcome) -> dict[str, str]:
    return {module["name"]: module["version"] for module in data(outcome)["modules"]}


def yank(registry: Path, module: str) -> None:
    path = registry / module / "index.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"yanked":null', b'"yanked":"wrong labels"', 1))


def test_init_makes_a_project_once(run: Run, here: Path) -> None:
    outcome = run("init", "pets", "--registry", "hf://acme")

    path = here / "pets" / "modpm.toml"
    assert outcome == (0, "", f"{path} is there; `modpm install NAMESPACE/NAME` adds modules\n")
    assert 'url = "hf://acme"' in path.read_text()
    again = run("init", "pets")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("error: this folder is a project already\n")
    assert data(run("init", "--json")) == {
        "project": str(here),
        "file": str(here / "modpm.toml"),
    }


@pytest.mark.parametrize("verb", ["install", "lock", "update", "outdated"])
def test_verbs_that_choose_releases_take_a_time(verb: str, run: Run, registry: Path) -> None:
    run("install", "digits/7", "--registry", registry)

    refused = run(verb, "--exclude-newer", "soon", "--json")
    taken = run(verb, "--exclude-newer", "2999-12-31", "--json")

    assert (refused.code, error(refused)["code"]) == (2, "bad-setting")
    assert taken.code == 0


def test_a_later_release_is_as_if_absent(run: Run, registry: Path, here: Path) -> None:
    refused = run("install", "digits/7", "--registry", registry, "--exclude-newer", "2020-01-01")

    assert refused.code == 1
    assert "releases found: none (1.0.0, 1.1.0 newer than 2020-01-01T23:59:59Z)" in refused.err
    assert not (here / "modpm.toml").exists()


def test_update_says_what_moved(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/7==1.0.0", "digits/8", "--registry", registry)
    toml = here / "modpm.toml"
    toml.write_text(toml.read_text().replace("==1.0.0", "<2"))

    dry = run("update", "--dry-run")
    outcome = run("update", "digits/7")

    assert dry.err == "~ digits/7 1.0.0 -> 1.1.0\nnothing was changed: this was a dry run\n"
    assert outcome.err == "~ digits/7 1.0.0 -> 1.1.0\n"
    assert versions(run("list", "--json")) == {"digits/7": "1.1.0", "digits/8": "1.0.0"}
    assert run("update").err == "everything is installed already\n"


def test_update_of_what_is_not_locked_exits_with_1(run: Run, registry: Path) -> None:
    run("install", "digits/7", "--registry", registry)

    outcome = run("update", "digits/77", "--json")

    assert outcome.code == 1
    assert error(outcome)["code"] == "not-locked"
    assert run("update", "digits/7>1").code == 2


def test_remove_says_what_left(run: Run, pets: Path) -> None:
    run("install", "digits/pets", "digits/8", "--registry", pets)

    outcome = run("remove", "digits/pets", "--json")

    assert outcome.err == "- digits/7 1.1.0\n- digits/pets 1.0.0\n"
    assert data(outcome)["changes"] == [
        {"name": "digits/7", "before": "1.1.0", "after": None, "lowered": None},
        {"name": "digits/pets", "before": "1.0.0", "after": None, "lowered": None},
    ]
    assert versions(run("list", "--json")) == {"digits/8": "1.0.0"}
    refused = run("remove", "digits/pets")
    assert refused.code == 1
    assert refused.err.startswith("error: `modpm.toml` does not ask for `digits/pets`\n")


def test_lock_says_what_would_be_installed(run: Run, registry: Path, here: Path) -> None:
    (here / "modpm.toml").write_text(
        f'requirements = ["digits/*"]\nregistries = [{{ name = "r", url = "{registry}" }}]\n'
    )

    outcome = run("lock", "--json")

    assert outcome.err == "+ digits/7 1.1.0\n+ digits/8 1.0.0\n"
    found = data(outcome)
    assert (found["is_changed"], found["dry_run"], found["yanked"]) == (True, False, [])
    assert list(found["modules"][0]) == ["name", "version", "digest", "size_bytes", "registry"]
    assert run("list").err == "no modules are installed here\n"
    assert run("lock", "--locked").err == "the same releases are locked: 2 modules\n"


def test_sync_installs_what_is_locked_and_nothing_twice(
    run: Run, registry: Path, here: Path
) -> None:
    (here / "modpm.toml").write_text(
        f'requirements = ["digits/8"]\nregistries = [{{ name = "r", url = "{registry}" }}]\n'
    )
    run("lock")

    assert run("sync", "--dry-run").err == (
        "+ digits/8 1.0.0\nnothing was changed: this was a dry run\n"
    )
    assert run("sync").err == "+ digits/8 1.0.0\n"
    again = run("sync", "--json")
    assert again.err == "everything is installed already\n"
    assert data(again)["changes"] == []


def test_a_lockfile_out_of_step_is_explained(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/8", "--registry", registry)
    toml = here / "modpm.toml"
    toml.write_text(toml.read_text().replace("digits/8~=1.0", "digits/7"))

    outcome = run("sync")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "error: `modpm.lock` is out of step with `modpm.toml`\n"
        f"  at: {here / 'modpm.lock'}\n"
        "  because: `digits/7` is asked for, and not locked\n"
        "    `digits/8~=1.0` is locked, and not asked for\n"
        "\n"
        "hint: run `modpm lock`, and look at what it changes\n"
    )
    assert run("sync", "--locked").err == outcome.err
    assert run("sync", "--frozen").code == 0
    assert error(run("install", "--locked", "--json"))["code"] == "lock-out-of-date"


def test_what_is_yanked_is_installed_from_a_lock_with_a_warning(
    run: Run, registry: Path, here: Path
) -> None:
    (here / "modpm.toml").write_text(
        f'requirements = ["digits/8"]\nregistries = [{{ name = "r", url = "{registry}" }}]\n'
    )
    run("lock")
    yank(registry, "digits/8")

    outcome = run("--quiet", "sync", "--json")

    assert outcome.err == "warning: digits/8 is yanked: wrong labels\n"
    assert data(outcome)["yanked"] == [{"name": "digits/8", "reason": "wrong labels"}]
    assert run("lock").err == (
        "warning: digits/8 is yanked: wrong labels\nthe same releases are locked: 1 module\n"
    )


def test_repair_says_what_it_mended(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/8", "--registry", registry)
    (path,) = (here / ".modpm").rglob("README.md")
    path.unlink()

    outcome = run("verify", "--repair", "--json")

    (repaired,) = data(outcome)["repaired"]
    assert repaired.startswith("digits/8 1.0.0: README.md")
    assert outcome.err == f"! repaired: {repaired}\n"
    assert run("verify", "--repair").err == "all is intact: 1 module\n"


def test_offline_names_the_digests_that_are_missing(
    run: Run, registry: Path, here: Path, tmp_path: Path
) -> None:
    run("install", "digits/8", "--registry", registry)
    (tmp_path / "home").rename(tmp_path / "old home")
    (here / ".modpm" / "installed.lock").unlink()
    for path in (here / ".modpm" / "modules").rglob("*.json"):
        path.unlink()

    outcome = run("install", "--offline", "--json")

    assert (outcome.code, error(outcome)["code"]) == (1, "offline")
    digests = {line.split()[0] for line in error(outcome)["why"].splitlines()}
    lock = (here / "modpm.lock").read_text()
    assert len(digests) == 4
    assert all(f'digest = "{digest}"' in lock for digest in digests)


def test_without_saving_the_files_of_the_project_stay(run: Run, registry: Path, here: Path) -> None:
    run("install", "digits/8", "--registry", registry)
    before = (here / "modpm.toml").read_bytes(), (here / "modpm.lock").read_bytes()

    installed = run("install", "digits/7", "--no-save").err.splitlines()
    assert installed[0] == "+ digits/7 1.1.0"
    titles = [line.partition("  ")[0] for line in installed[1:]]
    assert titles == [
        "2 modules of one origin",
        "bytes",
        "parameters",
        "multiply-accumulates an image",
    ]

    assert ((here / "modpm.toml").read_bytes(), (here / "modpm.lock").read_bytes()) == before
    assert run("sync").err == "- digits/7 1.1.0\n"


@pytest.mark.parametrize("more", [["digits/8"], ["--locked"], ["--no-save"], ["--same-origin"]])
def test_frozen_takes_nothing_else(run: Run, more: list[str]) -> None:
    outcome = run("install", "--frozen", *more, "--json")

    assert (outcome.code, error(outcome)["code"]) == (2, "usage")


def test_several_registries_may_be_named(run: Run, registry: Path, tmp_path: Path) -> None:
    outcome = run(
        "install", "digits/8", "--registry", registry, "--registry", tmp_path / "x", "--json"
    )

    assert data(outcome)["modules"][0]["registry"] == str(registry)


@pytest.mark.parametrize("verb", [("whoami",), ("remove", "digits/7"), ("registry", "reindex")])
def test_a_verb_that_is_told_to_allow_http_can_be(
    verb: tuple[str, ...], run: Run, registry: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install", "digits/7", "digits/8", "--registry", registry)
    url = "http://modules.invalid"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("MODPM_REGISTRY", url)
    path = here / "modpm.toml"
    path.write_text(path.read_text().replace(str(registry), url))
    (here / "modpm.lock").unlink()

    refused = run(*verb)
    allowed = run(*verb, "--allow-http")

    assert "asked without encryption" in refused.err
    assert "asked without encryption" not in allowed.err
