from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install
from modpm.registry.projects.editing import init
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put


def test_a_new_project_asks_for_nothing(project: Path) -> None:
    path = init(project / "pets")

    assert path == project / "pets" / "modpm.toml"
    assert tomllib.loads(path.read_text()) == {"requirements": []}
    assert list(path.parent.iterdir()) == [path]


def test_registries_stand_in_their_order(project: Path, registry: Path) -> None:
    init(project, [registry, "hf://acme", project / "own"], same_origin=True)

    wishes = Project(project).wishes()
    assert [(a.name, a.url) for a in wishes.registries] == [
        ("registry", str(registry)),
        ("acme", "hf://acme"),
        ("own", "own"),
    ]
    assert wishes.same_origin


def test_a_project_is_not_made_again(project: Path) -> None:
    path = init(project)
    path.write_text("# mine")

    with pytest.raises(ModpmError) as caught:
        init(project)

    assert caught.value.code == "project-exists"
    assert path.read_text() == "# mine"


def test_what_is_installed_stands_below_the_comment(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    path = init(project, registry)
    comment, *_ = path.read_text().splitlines()

    install(["digits/cat"], project)

    lines = path.read_text().splitlines()
    assert lines[0] == comment
    assert lines[2] == '    "digits/cat~=1.0"'
