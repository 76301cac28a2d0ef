from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution


@pytest.fixture
def cat(make_distribution: MakeDistribution, registry: Path, project: Path) -> Path:
    """The folder of an installed module, in a project with two."""
    names = ("digits/cat", "digits/dog")
    publish([make_distribution(name).folder for name in names], registry)
    return install(names, project, registry).modules[0].path


def problems(project: Path) -> str:
    with pytest.raises(ModpmError) as caught:
        verify(project)
    assert caught.value.code == "verification-failed"
    return str(caught.value.why)


def test_an_installation_verifies(cat: Path, project: Path) -> None:
    assert [str(module.name) for module in verify(project)] == ["digits/cat", "digits/dog"]
    assert cat.is_dir()


def test_an_empty_project_verifies(project: Path) -> None:
    (project / "modpm.toml").touch()
    assert verify(project) == []


def test_a_folder_that_is_no_project_does_not_verify(project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        verify(project)
    assert caught.value.code == "no-project"


def test_a_cold_store_is_no_fault(cat: Path, project: Path, home: Path) -> None:
    shutil.rmtree(home)

    assert len(verify(project)) == 2
    assert cat.is_dir()


def overwrite(path: Path) -> None:
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda cat: overwrite(cat / "module.safetensors"), "module.safetensors: its digest is"),
        (lambda cat: overwrite(cat / "manifest.json"), "digits/cat 1.0.0: manifest.json: "),
        (lambda cat: (cat / "README.md").unlink(), "README.md: is in the manifest, and absent"),
        (lambda cat: (cat / "virus.py").touch(), "virus.py"),
        (shutil.rmtree, "digits/cat 1.0.0: manifest.json"),
    ],
)
def test_what_is_wrong_is_named_and_install_repairs_it(
    cat: Path, project: Path, harm: Callable[[Path], None], words: str
) -> None:
    harm(cat)

    assert words in problems(project)
    install((), project)
    assert len(verify(project)) == 2


def test_a_damaged_file_in_the_store_is_named(cat: Path, project: Path, home: Path) -> None:
    digits = next(path for path in (home / "blobs").rglob("*") if len(path.name) == 64)
    content = digits.read_bytes()
    digits.unlink()  # the project's own file is another name of it
    digits.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert "damaged in the store" in problems(project)
    assert cat.is_dir()


def test_what_is_locked_and_not_installed_is_named(cat: Path, project: Path) -> None:
    (project / ".modpm" / "installed.lock").unlink()

    found = problems(project)

    assert "digits/cat 1.0.0: is locked, and not installed" in found
    assert "digits/dog 1.0.0: is locked, and not installed" in found
    assert cat.is_dir()


def test_what_is_installed_and_not_locked_is_named(cat: Path, project: Path) -> None:
    (project / "modpm.lock").unlink()

    assert "digits/cat 1.0.0: is installed, and not locked" in problems(project)
    assert cat.is_dir()


def test_a_lockfile_for_other_requirements_is_named(cat: Path, project: Path) -> None:
    path = project / "modpm.toml"
    path.write_text(path.read_text().replace("digits/dog", "digits/bird"))

    assert "`digits/bird~=1.0` is asked for, and not locked" in problems(project)
    assert cat.is_dir()


def test_another_version_than_the_locked_one_is_named(
    cat: Path, project: Path, make_distribution: MakeDistribution, registry: Path
) -> None:
    before = (project / ".modpm" / "installed.lock").read_bytes()
    publish([make_distribution("digits/cat", "2.0.0").folder], registry)
    install(["digits/cat>1"], project)
    (project / ".modpm" / "installed.lock").write_bytes(before)

    assert "digits/cat 2.0.0: is locked; 1.0.0 is installed" in problems(project)
    assert not cat.exists()
