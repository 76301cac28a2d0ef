"""The verbs that tell what there is: tree, why, outdated, search."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_tree_shows_what_requires_what(run: Run, pets: Path) -> None:
    run("install", "digits/pets>=1", "digits/8>=1", "--registry", pets)

    assert run("tree") == (
        0,
        (
            "digits/8 1.0.0 (as digits/8>=1)\n"
            "digits/pets 1.0.0 (as digits/pets>=1)\n"
            "├── digits/7 1.1.0 (as digits/7<2)\n"
            "└── digits/8 1.0.0 (as digits/8)\n"
        ),
        "",
    )
    assert run("tree", "--invert") == (
        0,
        (
            "digits/7 1.1.0\n"
            "└── digits/pets 1.0.0 (as digits/7<2)\n"
            "    └── modpm.toml (as digits/pets>=1)\n"
            "digits/8 1.0.0\n"
            "├── modpm.toml (as digits/8>=1)\n"
            "└── digits/pets 1.0.0 (as digits/8) (*)\n"
        ),
        "(*) what hangs on it is shown further up\n",
    )


def test_a_tree_as_json_is_a_graph(run: Run, pets: Path) -> None:
    run("install", "digits/pets", "--registry", pets)

    modules = json.loads(run("tree", "--json").out)["modules"]

    assert modules[0] == {
        "name": "digits/7",
        "version": "1.1.0",
        "asked": [],
        "requires": [],
        "required_by": [{"name": "digits/pets", "requirement": "digits/7<2"}],
    }
    assert [module["name"] for module in modules] == ["digits/7", "digits/8", "digits/pets"]
    assert modules[2]["asked"] == ["digits/pets~=1.0"]


def test_a_tree_shows_why_a_module_is_there(run: Run, pets: Path) -> None:
    run("install", "digits/pets", "digits/7", "--registry", pets)

    assert run("tree", "digits/7", "--invert").out == (
        "digits/7 1.1.0\n"
        "├── modpm.toml (as digits/7~=1.1)\n"
        "└── digits/pets 1.0.0 (as digits/7<2)\n"
        "    └── modpm.toml (as digits/pets~=1.0)\n"
    )
    assert run("tree", "digits/7", "--invert", "--depth", "0").out == "digits/7 1.1.0\n"
    found = json.loads(run("tree", "digits/8", "--invert", "--json").out)["modules"]
    assert [module["name"] for module in found] == ["digits/8", "digits/pets"]
    outcome = run("tree", "digits/9")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: `digits/9` is not locked\n")
    assert "hint: did you mean `digits/" in outcome.err


@pytest.mark.parametrize("verb", [["tree"], ["tree", "digits/7"], ["outdated"]])
def test_without_a_lockfile_there_is_nothing_to_tell(run: Run, verb: list[str]) -> None:
    outcome = run(*verb)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: there is no `modpm.lock`\n")


def test_outdated_shows_what_fits_and_what_it_would_change(run: Run, registry: Path) -> None:
    run("install", "digits/7<1.1", "digits/8", "--registry", registry)

    outcome = run("outdated")

    assert (outcome.code, outcome.err) == (0, "")
    header, row = outcome.out.splitlines()
    assert header.split() == ["name", "installed", "fits", "newest", "measured"]
    assert row.split()[:4] == ["digits/7", "1.0.0", "1.0.0", "1.1.0"]
    assert row.endswith("test: recall 90.00 % -> 90.00 %, precision 95.00 % -> 95.00 %")
    (module,) = json.loads(run("outdated", "--json").out)["modules"]
    assert (module["version"], module["fitting"], module["newest"]) == ("1.0.0", "1.0.0", "1.1.0")
    assert module["metrics"][0]["split"] == "test"
    assert module["metrics"][0]["before"]["recall"] == 0.9


def test_outdated_can_say_by_its_exit_code_whether_there_are_any(run: Run, registry: Path) -> None:
    run("install", "digits/7<1.1", "--registry", registry)

    found = run("outdated", "--exit-code")
    assert (found.code, found.out) == (1, run("outdated").out)
    assert run("outdated", "--exit-code", "--json").code == 1
    run("install", "digits/7>=1.1")
    assert run("outdated", "--exit-code").code == 0


def test_nothing_outdated_is_said(run: Run, registry: Path) -> None:
    run("install", "digits/*", "--registry", registry)

    assert run("outdated") == (0, "", "everything is the newest\n")


def test_search_shows_what_people_choose_by(run: Run, registry: Path) -> None:
    outcome = run("search", "digits", "--class", "7", "--max-size", "2MB", "--registry", registry)

    assert (outcome.code, outcome.err) == (0, "2 modules found\n")
    above, header, first, second = outcome.out.splitlines()
    assert above == f"registry {registry}"
    titles = ["name", "version", "size", "recall", "precision", "license", "recognizes"]
    assert header.split() == titles
    assert first.split()[:2] == ["digits/7", "1.1.0"]
    assert first.endswith("90.00 %    95.00 %  Apache-2.0  -")
    assert second.endswith("Apache-2.0  digits/7")


def test_search_as_json_has_what_was_measured(run: Run, registry: Path) -> None:
    (module,) = json.loads(run("search", "digits/8", "--registry", registry, "--json").out)[
        "modules"
    ]

    assert (module["name"], module["version"], module["license"]) == (
        "digits/8",
        "1.0.0",
        "Apache-2.0",
    )
    assert module["metrics"][0]["recall"] == 0.9


def test_a_search_without_a_result_is_no_error(run: Run, registry: Path) -> None:
    for wishes in (["nothing"], ["--min-recall", "0.91"], ["--max-size", "1kB"]):
        assert run("search", *wishes, "--registry", registry) == (0, "", "0 modules found\n")


@pytest.mark.parametrize("size", ["2 apples", "-1", "", "1e9", "9" * 40])
def test_a_size_that_is_none_is_a_usage_error(run: Run, size: str) -> None:
    outcome = run("search", "--max-size", size, "--json")

    assert outcome.code == 2
    assert json.loads(outcome.out)["error"]["code"] == "usage"


def test_sizes_are_read_as_people_write_them(run: Run, registry: Path) -> None:
    size = json.loads(run("search", "digits/8", "--registry", registry, "--json").out)["modules"][
        0
    ]["size_bytes"]
    for text, is_found in (
        (f"{size}", True),
        (f"{size - 1} bytes", False),
        (f"{size / 1000:.3f}kB", True),
        (f"{size / 1024 + 0.001:.3f} KiB", True),
        ("0.001mb", False),
        ("1GiB", True),
    ):
        found = run("search", "digits/8", "--max-size", text, "--registry", registry).err
        assert found == ("1 module found\n" if is_found else "0 modules found\n"), text


def test_offline_describes_what_is_installed_alone(run: Run, registry: Path) -> None:
    run("install", "digits/8", "--registry", registry)

    assert run("info", "digits/8", "--offline").code == 0
    outcome = run("info", "digits/7", "--offline", "--json")
    assert json.loads(outcome.out)["error"]["code"] == "offline"
