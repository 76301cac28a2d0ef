"""How far an installed folder is trusted without being read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.module_folders import SEAL_TIME_NS, is_sealed
from modpm.registry.installing.verification import verify
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import Put

    from modpm.registry.projects.lockfile import Pin


@pytest.fixture
def cat(put: Put, project: Path, registry: Path) -> Path:
    """The folder of an installed module."""
    put("digits/cat")
    return install(["digits/cat"], project, registry).modules[0].path


@pytest.fixture
def pin(cat: Path, project: Path) -> Pin:
    lock = Project(project).lock()
    assert lock is not None
    assert cat.is_dir()
    return lock.pins[0]


def overwrite(path: Path) -> None:
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_new_folder_is_sealed_and_read_only(cat: Path, pin: Pin) -> None:
    assert is_sealed(cat, pin)
    for path in cat.iterdir():
        status = path.stat()
        assert status.st_mtime_ns == SEAL_TIME_NS
        assert stat.S_IMODE(status.st_mode) == 0o444


@pytest.mark.parametrize(
    "harm",
    [
        lambda cat: overwrite(cat / "module.safetensors"),
        lambda cat: (cat / "README.md").unlink(),
        lambda cat: (cat / "virus.py").touch(),
        lambda cat: (cat / "LICENSE").rename(cat / "COPYING"),
    ],
)
def test_whatever_is_written_breaks_the_seal_and_sync_mends_it(
    cat: Path, pin: Pin, project: Path, harm: Callable[[Path], None]
) -> None:
    harm(cat)

    assert not is_sealed(cat, pin)
    assert [str(name) for name in sync(project).mended] == ["digits/cat"]
    assert is_sealed(cat, pin)
    assert len(verify(project)) == 1


def test_a_link_in_place_of_a_file_breaks_the_seal(
    cat: Path, pin: Pin, project: Path, tmp_path: Path
) -> None:
    path = cat / "LICENSE"
    path.rename(tmp_path / "LICENSE")
    path.symlink_to(tmp_path / "LICENSE")

    assert not is_sealed(cat, pin)
    sync(project)
    assert not path.is_symlink()


def test_a_folder_that_was_copied_is_verified_once_and_sealed_again(
    cat: Path, pin: Pin, project: Path
) -> None:
    for path in cat.iterdir():
        os.utime(path)
    inode = (cat / "module.safetensors").stat().st_ino

    assert not is_sealed(cat, pin)
    outcome = sync(project)

    assert (outcome.changes, outcome.mended) == ((), ())
    assert is_sealed(cat, pin)
    assert (cat / "module.safetensors").stat().st_ino == inode


def test_what_changes_bytes_and_keeps_times_is_found_and_mended_by_verify(
    cat: Path, pin: Pin, project: Path
) -> None:
    path = cat / "module.safetensors"
    overwrite(path)
    os.utime(path, ns=(SEAL_TIME_NS, SEAL_TIME_NS))

    assert is_sealed(cat, pin)
    assert sync(project).mended == ()
    with pytest.raises(ModpmError, match=r"module\.safetensors: its digest is"):
        verify(project)
    found: list[str] = []
    assert len(verify(project, repair=True, on_problem=found.append)) == 1
    assert [line.partition(":")[0] for line in found] == ["digits/cat 1.0.0"] * len(found) != []
