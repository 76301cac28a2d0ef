"""A disk that runs out, and folders that may not be written to, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.registry.command_server import CommandServer

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install
from modpm.registry.installing.verification import verify
from modpm.registry.publication.publishing import publish
from modpm.registry.storage.caching import verify_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

OLD = {"digits/cat": "1.0.0"}
NEW = {"digits/cat": "1.1.0", "digits/dog": "1.0.0"}
OLD_REQUIREMENTS = ["digits/cat==1.0.0"]
ASKED = ["digits/cat>1", "digits/dog"]
DISK_BYTES = 2 * 1024 * 1024
PAGE_BYTES = 4096


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of two megabytes, with the home on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    monkeypatch.setenv("MODPM_HOME", str(folder / "home"))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def occupy(disk: Path, n_free: int) -> Path:
    """Fill a disk but for so many bytes, and return the file that does."""
    status = os.statvfs(disk)
    path = disk / "other-data"
    path.write_bytes(b"x" * max(0, status.f_bavail * status.f_frsize - n_free))
    return path


def run_out(disk: Path, work: Callable[[], object], check: Callable[[], object]) -> int:
    """Do some work with ever more space until it is enough; return how often it was not.

    After each failure the work is checked, and what it has left is not in the way of the next.
    """
    for n_failed in range(DISK_BYTES // PAGE_BYTES):
        other_data = occupy(disk, n_failed * PAGE_BYTES)
        try:
            work()
        except ModpmError as error:
            assert error.code == "disk-full"  # noqa: PT017 - it may end well, too
        else:
            return n_failed
        finally:
            other_data.unlink()
        check()
    raise AssertionError("all of the disk was not enough")


def state(project: Path) -> dict[str, str]:
    return {str(module.name): module.version for module in verify(project)}


@pytest.fixture
def registry_with_releases(make_distribution: MakeDistribution, registry: Path) -> Path:
    releases = [*OLD.items(), *NEW.items()]
    publish([make_distribution(name, version).folder for name, version in releases], registry)
    return registry


@pytest.fixture
def old_project(registry_with_releases: Path, project: Path) -> Path:
    install(OLD_REQUIREMENTS, project, registry_with_releases)
    return project


def test_an_installation_without_space_leaves_the_old_state(
    disk: Path, registry_with_releases: Path
) -> None:
    project = disk / "project"
    project.mkdir()
    install(OLD_REQUIREMENTS, project, registry_with_releases)

    def check() -> None:
        assert state(project) == OLD
        assert verify_store() == []

    n_failed = run_out(disk, lambda: install(ASKED, project), check)

    assert n_failed >= 3  # what each attempt fetches stays in the store
    assert state(project) == NEW
    assert verify_store() == []


def test_a_publishing_without_space_publishes_nothing(
    disk: Path, make_distribution: MakeDistribution
) -> None:
    registry = disk / "registry"
    publish([make_distribution(name, version).folder for name, version in OLD.items()], registry)
    new = [make_distribution(name, version).folder for name, version in NEW.items()]

    def listed() -> dict[str, list[str]]:
        backend = DirectoryRegistry(registry)
        indexes = [backend.index(name) for name in backend.names()]
        return {i.name: [r.version for r in i.releases] for i in indexes if i is not None}

    def check() -> None:
        assert listed() == {"digits/cat": ["1.0.0"]}

    n_failed = run_out(disk, lambda: publish(new, registry), check)

    assert n_failed >= 10
    assert listed() == {"digits/cat": ["1.0.0", "1.1.0"], "digits/dog": ["1.0.0"]}


# Root may do anything; without these capabilities it may do what its files' modes say.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[CommandServer]:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd_open")
    is_root = os.geteuid() == 0
    if is_root and shutil.which(WITHOUT_RIGHTS[0]) is None:
        pytest.skip("root may write anywhere, and there is no setpriv to take that from it")
    with CommandServer(tmp_path, WITHOUT_RIGHTS if is_root else ()) as server:
        yield server


def set_modes(folder: Path, mode: int) -> None:
    """Set the mode of a folder and of the folders in it."""
    for path in sorted([folder, *folder.rglob("*")], reverse=mode & 0o100 == 0):
        if path.is_dir():
            path.chmod(mode)


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("project", 0o555),
        ("project", 0o000),
        ("home", 0o555),
        ("home", 0o000),
        ("registry", 0o000),
    ],
)
def test_an_installation_without_permission_changes_nothing(
    old_project: Path, tmp_path: Path, commands: CommandServer, place: str, mode: int
) -> None:
    arguments = ["install", *ASKED, "--project", str(old_project), "--json"]

    set_modes(tmp_path / place, mode)
    refused = commands.run(*arguments, cwd=tmp_path)
    set_modes(tmp_path / place, 0o755)

    assert refused.code == 1
    assert json.loads(refused.output)["error"]["code"] == "permission-denied"
    assert state(old_project) == OLD
    assert verify_store() == []
    assert commands.run(*arguments, cwd=tmp_path).code == 0
    assert state(old_project) == NEW


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
def test_a_publishing_without_permission_changes_nothing(
    registry_with_releases: Path,
    make_distribution: MakeDistribution,
    tmp_path: Path,
    commands: CommandServer,
    mode: int,
) -> None:
    distribution = make_distribution("digits/owl").folder
    arguments = ["publish", str(distribution), "--registry", str(registry_with_releases), "--json"]

    set_modes(registry_with_releases, mode)
    refused = commands.run(*arguments, cwd=tmp_path)
    set_modes(registry_with_releases, 0o755)

    owl = ModuleName("digits", "owl")
    assert refused.code == 1
    assert json.loads(refused.output)["error"]["code"] == "permission-denied"
    assert DirectoryRegistry(registry_with_releases).index(owl) is None
    assert commands.run(*arguments, cwd=tmp_path).code == 0
    assert DirectoryRegistry(registry_with_releases).index(owl) is not None
