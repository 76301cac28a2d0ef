from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import Address
from modpm.registry.project import Project, edited

if TYPE_CHECKING:
    from pathlib import Path

COMMENTED = b"""\
# My pets
requirements = [
    "mnist/7",  # the best of all digits
    # not yet: "cifar10/dog"
    "cifar10/cat<2",
]

[[registries]]  # ours
name = "work"
url = "../modules"
"""


def edit(toml: bytes, *requirements: str, registry: Address | None = None) -> bytes:
    return edited(toml, [Requirement.parse(text) for text in requirements], registry)


def test_comments_and_order_are_kept() -> None:
    after = edit(COMMENTED, "cifar10/bird", "cifar10/cat>=2").decode()

    for line in COMMENTED.decode().splitlines():
        if "cat<2" not in line:
            assert line in after
    assert tomllib.loads(after)["requirements"] == ["mnist/7", "cifar10/cat>=2", "cifar10/bird"]


def test_what_is_there_already_changes_nothing() -> None:
    registry = Address("work", "../modules")

    assert edit(COMMENTED, "mnist/7", "CIFAR10/Cat <2", registry=registry) == COMMENTED


def test_a_new_file_asks_for_what_is_asked() -> None:
    after = edit(b"", "mnist/7", registry=Address("home", "registry"))

    assert tomllib.loads(after.decode()) == {
        "requirements": ["mnist/7"],
        "registries": [{"name": "home", "url": "registry"}],
    }


def test_another_registry_goes_last() -> None:
    after = edit(COMMENTED, registry=Address("home", "registry"))

    names = [registry["name"] for registry in tomllib.loads(after.decode())["registries"]]
    assert names == ["work", "home"]


@pytest.mark.parametrize(
    "toml",
    [
        b'registries = [{ name = "a", url = "b" }]',
        b'requirements = ["a/b"]\nregistries = []',
        b'requirements = ["a/b"]\r\n# windows\r\n',
        b'# ours\n[[registries]]\nname = "a"\nurl = "b"\n',
    ],
)
def test_other_ways_of_writing_are_edited_too(toml: bytes) -> None:
    after = edit(toml, "mnist/7", registry=Address("home", "registry")).decode()

    document = tomllib.loads(after)
    assert document["requirements"][-1] == "mnist/7"
    assert document["registries"][-1] == {"name": "home", "url": "registry"}


@pytest.mark.parametrize(
    ("toml", "code"),
    [
        (b"requirements = [", "invalid-project"),
        (b"requirement = []", "invalid-project"),
        (b"requirements = [3]", "invalid-project"),
        (b'requirements = ["x"]', "invalid-name"),
        (b'requirements = ["a/b>>1"]', "invalid-requirement"),
        (b'[[registries]]\nname = "a"', "invalid-project"),
        (b"\xff", "invalid-project"),
    ],
)
def test_a_damaged_project_file_is_refused(project: Path, toml: bytes, code: str) -> None:
    (project / "modpm.toml").write_bytes(toml)

    with pytest.raises(ModpmError) as caught:
        Project(project).wishes()

    assert caught.value.code == code
    assert "modpm.toml" in str(caught.value.where)
    assert caught.value.exit_code == 1


def test_a_folder_in_a_project_belongs_to_it(project: Path) -> None:
    (project / "modpm.toml").touch()
    (project / "notebooks" / "old").mkdir(parents=True)

    assert Project.discover(project / "notebooks" / "old").root == project


def test_a_folder_outside_is_its_own_project(project: Path) -> None:
    assert Project.discover(project).root == project


def test_a_project_in_a_missing_folder_is_an_error(project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        Project.discover(project / "missing")
    assert caught.value.code == "no-such-folder"
