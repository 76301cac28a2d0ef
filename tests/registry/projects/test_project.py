from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import Address
from modpm.registry.projects.editing import Edit, edited
from modpm.registry.projects.project import Project

VECTORS = Path(__file__).parents[3] / "specs" / "vectors" / "project"
VALID = sorted((VECTORS / "valid").iterdir())
INVALID: dict[str, dict[str, str]] = json.loads((VECTORS / "expect.json").read_bytes())

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
    asked = tuple(Requirement.parse(text) for text in requirements)
    return edited(toml, Edit(add=asked, registries=() if registry is None else (registry,)))


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


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_a_golden_project_file_is_read(path: Path) -> None:
    wishes = Project(path.parent).parse_wishes(path.read_bytes())

    assert len(wishes.all_requirements()) == len(wishes.requirements)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_an_invalid_project_file_is_refused(name: str, project: Path) -> None:
    (project / "modpm.toml").write_bytes((VECTORS / "invalid" / name).read_bytes())

    with pytest.raises(ModpmError) as caught:
        Project(project).wishes()

    assert caught.value.code == INVALID[name]["code"]
    assert "modpm.toml" in str(caught.value.where)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("place", range(3))
def test_a_requirement_is_removed_with_its_line(place: int) -> None:
    names = ["mnist/7", "cifar10/cat", "cifar10/bird"]
    lines = ['    "mnist/7",  # the best', '    "cifar10/cat<2",', '    "cifar10/bird",  # a bird']
    toml = "\n".join(["# My pets", "requirements = [", *lines, "]", "", "[[registries]]  # ours"])
    toml += '\nname = "work"\nurl = "../modules"\n'

    after = edited(toml.encode(), Edit(remove=(Requirement.parse(names[place]),))).decode()

    assert after == toml.replace(lines[place] + "\n", "")


def test_same_origin_is_set_and_taken_back() -> None:
    on = edited(COMMENTED, Edit(same_origin=True))

    assert tomllib.loads(on.decode()) == {
        **tomllib.loads(COMMENTED.decode()),
        "same-origin": True,
    }
    off = edited(on, Edit(same_origin=False)).decode()
    assert tomllib.loads(off) == tomllib.loads(COMMENTED.decode())


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


@pytest.mark.parametrize("same_origin", [None, False, True])
@pytest.mark.parametrize("n_each", range(4))
def test_a_new_file_is_what_editing_an_empty_one_makes(
    n_each: int, same_origin: bool | None
) -> None:
    texts = ["cifar10/cat~=1.0", "mnist/7@stable", "cifar10/cat"][:n_each]
    registries = [Address("one", 'a "b"\\c\t\x7fé'), Address("two", "/b"), Address("one", "/c")]
    edit = Edit(
        add=tuple(map(Requirement.parse, texts)),
        registries=tuple(registries[:n_each]),
        namespaces=dict([("mnist", "one"), ("cifar10", "two"), ("a-7", "one")][:n_each]),
        same_origin=same_origin,
    )

    comment = b"# ours\n"
    beside = tomllib.loads(edited(comment, edit).decode())
    assert tomllib.loads(edited(b"", edit).decode()) == beside


def test_a_new_file_is_laid_out_as_an_edited_one() -> None:
    edit = Edit(
        add=(Requirement.parse("cifar10/cat~=1.0"),),
        registries=(Address("one", "/a"),),
        namespaces={"mnist": "one"},
        same_origin=True,
    )

    new = edited(b"", edit).decode()

    assert new == (
        'requirements = [\n    "cifar10/cat~=1.0",\n]\nsame-origin = true\n\n'
        '[[registries]]\nname = "one"\nurl = "/a"\n\n[namespaces]\nmnist = "one"\n'
    )
    assert edited(new.encode(), edit).decode() == new
