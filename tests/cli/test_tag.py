from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_tag_is_set_moved_and_deleted(run: Run, registry: Path) -> None:
    said = [
        run("tag", "digits/7==1.0.0", "stable", "--registry", registry).err,
        run("tag", "digits/7==1.1.0", "stable", "--registry", registry).err,
        run("tag", "digits/7", "stable", "--delete", "--registry", registry).err,
    ]

    assert said == [
        "digits/7@stable is 1.0.0\n",
        "digits/7@stable is 1.1.0\n",
        "digits/7 has no tag stable\n",
    ]


def test_json_has_all_tags(run: Run, registry: Path) -> None:
    run("tag", "digits/7==1.0.0", "old", "--registry", registry)

    outcome = run("tag", "digits/7==1.1.0", "stable", "--registry", registry, "--json")

    assert json.loads(outcome.out) == {
        "name": "digits/7",
        "tags": {"old": "1.0.0", "stable": "1.1.0"},
    }


def test_a_version_is_no_tag(run: Run, registry: Path) -> None:
    outcome = run("tag", "digits/7==1.1.0", "1.1", "--registry", registry)

    assert outcome.code == 2
    assert outcome.err.startswith("error: `1.1` is not a tag")


def test_a_release_must_be_named_to_be_tagged(run: Run, registry: Path) -> None:
    outcome = run("tag", "digits/7", "stable", "--registry", registry)

    assert outcome.code == 2
    assert "`digits/7` does not name one release" in outcome.err
