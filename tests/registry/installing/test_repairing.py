from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put


@pytest.fixture
def cat(put: Put, project: Path, registry: Path) -> Path:
    """The folder of an installed module, in a project with two."""
    put("digits/cat")
    put("digits/dog", "1.5.0")
    return install(["digits/cat", "digits/dog"], project, registry).modules[0].path


def damage_the_store(project: Path, name: str) -> None:
    (module,) = [m for m in installed(project) if str(m.name) == name]
    path = Store.of_user().path(module.digest)
    content = path.read_bytes()
    path.unlink()  # the project's own file is another name of it
    path.write_bytes(content[:-1])


def repair(project: Path, *, offline: bool = False) -> list[str]:
    """Repair, and return what was damaged."""
    found: list[str] = []
    verify(project, repair=True, offline=offline, on_problem=found.append)
    return found


def test_what_is_intact_is_left_alone(cat: Path, project: Path, registry: Path) -> None:
    shutil.rmtree(registry)
    before = {path: path.stat().st_ino for path in project.rglob("*")}

    assert repair(project) == []

    assert {path: path.stat().st_ino for path in project.rglob("*")} == before
    assert cat.is_dir()


def test_damage_in_project_and_store_is_mended(cat: Path, project: Path) -> None:
    (cat / "README.md").unlink()
    damage_the_store(project, "digits/dog")

    with pytest.raises(ModpmError) as caught:
        verify(project)
    assert caught.value.hint == "run `modpm verify --repair`"
    found = repair(project)
    assert found == str(caught.value.why).splitlines()
    assert [line.partition(":")[0] for line in found] == ["digits/cat 1.0.0", "digits/dog 1.5.0"]
    assert found[1] == "digits/dog 1.5.0: manifest.json is damaged in the store"
    assert len(verify(project)) == 2
    assert repair(project) == []


def test_the_releases_stay_those_that_are_installed(
    cat: Path, project: Path, put: Put, registry: Path
) -> None:
    put("digits/cat", "2.0.0")
    lock = (project / "modpm.lock").read_bytes()
    shutil.rmtree(cat)

    repair(project)

    assert {str(m.name): m.version for m in installed(project)} == {
        "digits/cat": "1.0.0",
        "digits/dog": "1.5.0",
    }
    assert (project / "modpm.lock").read_bytes() == lock
    assert registry.is_dir()


@pytest.mark.parametrize("record", [b"<<<<", None])
def test_without_a_record_the_lockfile_is_installed(
    cat: Path, project: Path, record: bytes | None
) -> None:
    path = project / ".modpm" / "installed.lock"
    path.unlink()
    if record is not None:
        path.write_bytes(record)

    names = ["digits/cat", "digits/dog"]
    assert repair(project) == [f"{name}: was not recorded as installed" for name in names]

    assert len(verify(project)) == 2
    assert cat.is_dir()


def test_offline_names_what_is_missing_and_keeps_the_rest(
    cat: Path, project: Path, home: Path
) -> None:
    (cat / "README.md").unlink()
    shutil.rmtree(home)

    with pytest.raises(ModpmError) as caught:
        repair(project, offline=True)

    assert caught.value.code == "offline"
    assert (cat / "manifest.json").is_file()


def test_where_nothing_was_installed_there_is_nothing_to_repair(project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        repair(project)
    assert caught.value.code == "no-project"
    (project / "modpm.toml").touch()
    assert repair(project) == []
