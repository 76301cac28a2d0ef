from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_what_changed_is_said_and_nothing_else(run: Run, registry: Path) -> None:
    first = run("install", "digits/7<1.1", "--registry", registry)
    second = run("install", "digits/*", "digits/7>1.0")
    third = run("install")

    assert (first.code, second.code, third.code) == (0, 0, 0)
    assert first.err == "+ digits/7 1.0.0\n"
    replaced = "modpm.toml asks for `digits/7>1.0`, and no longer for `digits/7<1.1`\n"
    changes, _, costs = second.err.partition("2 modules of one origin")
    assert changes == f"{replaced}~ digits/7 1.0.0 -> 1.1.0\n+ digits/8 1.0.0\n"
    assert costs.endswith("multiply-accumulates an image       2,310     1,158       2,316\n")
    assert third.err == "everything is installed already\n"
    assert (first.out, second.out, third.out) == ("", "", "")
    for verb in ("update", "sync"):
        assert run(verb) == (0, "", "everything is installed already\n")
    assert run("remove", "digits/*") == (0, "", "- digits/8 1.0.0\n")


def test_what_modules_of_one_origin_cost_together_is_said(
    run: Run, registry: Path, here: Path
) -> None:
    first = run("install", "digits/7<1.1", "--registry", registry, "--json")
    dry = run("install", "digits/8", "--dry-run")
    second = run("install", "digits/8", "--json")
    again = run("install", "--json")

    alone = json.loads(first.out)["together"]
    assert (alone["n_modules"], alone["n_origins"]) == (1, 1)
    assert alone["one_by_one"] == alone["together"]
    assert "origin" not in first.err + dry.err
    both = json.loads(second.out)["together"]
    assert both["n_modules"] == 2
    assert both["one_by_one"]["n_parameters"] == 2 * alone["one_by_one"]["n_parameters"]
    assert both["together"]["n_parameters"] < both["one_by_one"]["n_parameters"]
    assert both["origins"] == alone["origins"]
    folders = [here / ".modpm" / "modules" / "digits" / name for name in ("7", "8")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    once = {path.read_bytes() for path in files}
    assert both["one_by_one"]["size_bytes"] == sum(path.stat().st_size for path in files)
    assert both["together"]["size_bytes"] == sum(map(len, once))
    assert json.loads(again.out)["together"] is None
    for line in second.err.splitlines():
        assert len(line) <= 80


def test_json_has_the_fields_that_scripts_rely_on(run: Run, registry: Path) -> None:
    outcome = run("--quiet", "install", "digits/8", "--registry", registry, "--json")

    assert (outcome.code, outcome.err) == (0, "")
    (module,) = json.loads(outcome.out)["modules"]
    assert list(module) == [
        *("name", "version", "digest", "size_bytes", "registry", "signer", "kind", "yanked"),
    ]
    assert (module["name"], module["version"]) == ("digits/8", "1.0.0")
    assert module["registry"] == str(registry)
    files = (registry / "digits" / "8" / "1.0.0").iterdir()
    assert module["size_bytes"] == sum(path.stat().st_size for path in files)


def test_an_unknown_module_exits_with_1_and_says_what_was_meant(
    run: Run, registry: Path, here: Path
) -> None:
    outcome = run("install", "digit/7", "--registry", registry)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "error: there is no module `digit/7`\n"
        f"  at: registry {registry}\n"
        "  because: of the 2 modules there, none has this name\n"
        "\n"
        "hint: did you mean `digits/7` or `digits/8`?\n"
    )
    assert list(here.iterdir()) == []


def test_of_one_module_no_plural_is_said(run: Run, registry: Path) -> None:
    shutil.rmtree(registry / "digits" / "8")

    outcome = run("install", "digit/7", "--registry", registry)

    assert "because: the one module there has another name\n" in outcome.err


def test_a_version_that_does_not_exist_exits_with_1_and_lists_those_that_do(
    run: Run, registry: Path
) -> None:
    outcome = run("install", "digits/7>=2", "--registry", registry)

    assert outcome.code == 1
    assert outcome.err == (
        "error: no release of `digits/7` satisfies `>=2`\n"
        f"  at: registry {registry}\n"
        "  because: it is asked by `modpm install`; releases found: 1.0.0, 1.1.0\n"
        "\n"
        "hint: loosen the requirement; the newest release is `digits/7==1.1.0`\n"
    )


def test_what_is_not_a_requirement_exits_with_2(run: Run, registry: Path) -> None:
    for text in ("seven", "digits/7>>1", "../7", "digits/7@1.0"):
        outcome = run("install", text, "--registry", registry)

        assert outcome.code == 2
        assert outcome.err.startswith(f"error: `{text}` is not a ")


def test_a_missing_registry_exits_with_1(run: Run, tmp_path: Path) -> None:
    outcome = run("install", "digits/7", "--registry", tmp_path / "missing", "--json")

    assert outcome.code == 1
    assert json.loads(outcome.out)["error"]["code"] == "registry-missing"


def test_nothing_to_install_exits_with_2(run: Run) -> None:
    assert run("install").code == 2


def test_another_project_can_be_named(run: Run, registry: Path, tmp_path: Path, here: Path) -> None:
    (tmp_path / "other").mkdir()

    run("install", "digits/8", "--registry", registry, "--project", tmp_path / "other")

    assert (tmp_path / "other" / "modpm.lock").is_file()
    assert list(here.iterdir()) == []


def test_a_folder_that_is_not_there_can_be_made_a_project(run: Run, registry: Path) -> None:
    outcome = run("install", "digits/8", "--registry", registry, "--project", "new")

    assert outcome.code == 1
    assert "make a project there by `modpm init FOLDER`" in outcome.err


def test_a_request_that_gives_way_to_another_is_named(run: Run, registry: Path) -> None:
    run("tag", "digits/7==1.1.0", "stable", "--registry", registry)
    run("install", "digits/7@stable", "--registry", registry)
    words = "`digits/7==1.0`, and no longer for `digits/7@stable`\n"

    dry = run("install", "digits/7==1.0", "--dry-run")
    unsaved = run("install", "digits/7==1.0", "--no-save")
    outcome = run("install", "digits/7==1.0", "--json")

    assert dry.err.startswith(f"modpm.toml would ask for {words}")
    assert "no longer" not in unsaved.err
    assert outcome.err.startswith(f"modpm.toml asks for {words}")
    assert json.loads(outcome.out)["replaced"] == [
        {"before": "digits/7@stable", "after": "digits/7==1.0"}
    ]
    assert "no longer" not in run("install", "digits/7==1.0").err
