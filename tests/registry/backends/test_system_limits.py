"""A disk that runs out, and folders that may not be written to, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.kinds.directory import Directory
from tests.registry.backends.kinds.object_store import ObjectStore
from tests.registry.command_server import CommandServer
from tests.registry.outcomes import present_and_whole

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install, sync
from modpm.registry.pins.locking import lock
from modpm.registry.projects.editing import Edit, edited
from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish
from modpm.registry.storage.caching import verify_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.registry.backends.kinds.kind import Kind
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


@pytest.fixture
def registry_with_releases(make_distribution: MakeDistribution, kind_of_registry: Kind) -> str:
    releases = [*OLD.items(), *NEW.items()]
    folders = [make_distribution(name, version).folder for name, version in releases]
    publish(folders, kind_of_registry.url)
    return kind_of_registry.url


def lock_new(project: Path) -> None:
    """Let a project with the old state ask for and lock the new one, which is not installed."""
    place = Project(project)
    edit = Edit(add=tuple(map(Requirement.parse, ASKED)))
    place.toml_path.write_bytes(edited(place.toml_path.read_bytes(), edit))
    lock(project)


def run_out_in_project(disk: Path, project: Path, work: Callable[[], object]) -> None:
    """Do some work that installs the new state without space, and then with it."""

    def check() -> None:
        assert present_and_whole(project) == OLD
        assert verify_store() == []

    n_failed = run_out(disk, work, check)

    assert n_failed >= 2  # what each attempt fetches stays in the store
    assert present_and_whole(project) == NEW
    assert verify_store() == []


@pytest.fixture
def project_on_disk(disk: Path, registry_with_releases: str) -> Path:
    project = disk / "project"
    project.mkdir()
    install(OLD_REQUIREMENTS, project, registry_with_releases)
    return project


def test_an_installation_without_space_leaves_the_old_state(
    disk: Path, project_on_disk: Path
) -> None:
    run_out_in_project(disk, project_on_disk, lambda: install(ASKED, project_on_disk))


def test_a_syncing_without_space_leaves_the_old_state(disk: Path, project_on_disk: Path) -> None:
    lock_new(project_on_disk)

    run_out_in_project(disk, project_on_disk, lambda: sync(project_on_disk))


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


@pytest.mark.parametrize("kind_of_registry", [ObjectStore], ids=["object-store"], indirect=True)
def test_a_publishing_to_an_object_store_needs_no_space_here(
    disk: Path, kind_of_registry: Kind, make_distribution: MakeDistribution
) -> None:
    folders = [make_distribution(name, version).folder for name, version in NEW.items()]
    occupy(disk, 0)

    published = publish(folders, kind_of_registry.url)

    assert all(one.is_new for one in published)
    names = [str(name) for name in kind_of_registry.again().names()]
    assert names == sorted(NEW)


# Root may do anything; without these capabilities it may do what its files' modes say.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def commands(kind_of_registry: Kind, tmp_path: Path) -> Iterator[CommandServer]:
    assert kind_of_registry.url  # its environment is set by now, and inherited
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


@pytest.fixture
def old_project(registry_with_releases: str, project: Path) -> Path:
    install(OLD_REQUIREMENTS, project, registry_with_releases)
    return project


def order(verb: str, project: Path) -> list[str]:
    """Return the command that installs the new state by a verb."""
    if verb == "sync":
        lock_new(project)
    asked = ASKED if verb == "install" else []
    return [verb, *asked, "--project", str(project), "--json"]


def run_without_permission(
    commands: CommandServer, arguments: list[str], place: Path, mode: int, project: Path
) -> None:
    """Run a command that installs the new state, with a folder that is closed, and then open."""
    set_modes(place, mode)
    refused = commands.run(*arguments, cwd=project.parent)
    set_modes(place, 0o755)

    assert refused.code == 1
    # Before the document it may be said that what is seen cannot be remembered either.
    said, brace, document = refused.output.partition("{")
    assert not said or said.startswith("what was seen of registries is not known")
    assert json.loads(brace + document)["error"]["code"] == "permission-denied"
    assert present_and_whole(project) == OLD
    assert verify_store() == []
    assert commands.run(*arguments, cwd=project.parent).code == 0
    assert present_and_whole(project) == NEW


modes = pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
installing = pytest.mark.parametrize("verb", ["install", "sync"])
in_a_folder = pytest.mark.parametrize(
    "kind_of_registry", [Directory], ids=["directory"], indirect=True
)


@installing
@pytest.mark.parametrize("place", ["project", "home"])
@modes
def test_installing_without_permission_changes_nothing(
    *, old_project: Path, tmp_path: Path, commands: CommandServer, verb: str, place: str, mode: int
) -> None:
    arguments = order(verb, old_project)

    run_without_permission(commands, arguments, tmp_path / place, mode, old_project)


@installing
@in_a_folder
def test_installing_from_a_registry_that_may_not_be_read_changes_nothing(
    old_project: Path, kind_of_registry: Kind, commands: CommandServer, verb: str
) -> None:
    arguments = order(verb, old_project)

    run_without_permission(commands, arguments, Path(kind_of_registry.url), 0o000, old_project)


@in_a_folder
def test_what_is_installed_is_described_without_a_registry_that_may_be_read(
    old_project: Path, kind_of_registry: Kind, commands: CommandServer
) -> None:
    registry = Path(kind_of_registry.url)

    set_modes(registry, 0o000)
    outcome = commands.run("info", "digits/cat", "--project", str(old_project), cwd=old_project)
    set_modes(registry, 0o755)

    assert outcome.code == 0
    assert outcome.output.startswith("digits/cat 1.0.0")


@in_a_folder
@modes
def test_a_publishing_without_permission_changes_nothing(
    registry_with_releases: str,
    make_distribution: MakeDistribution,
    tmp_path: Path,
    commands: CommandServer,
    mode: int,
) -> None:
    registry = Path(registry_with_releases)
    distribution = make_distribution("digits/owl").folder
    arguments = ["publish", str(distribution), "--registry", str(registry), "--json"]

    set_modes(registry, mode)
    refused = commands.run(*arguments, cwd=tmp_path)
    set_modes(registry, 0o755)

    owl = ModuleName("digits", "owl")
    assert refused.code == 1
    assert json.loads(refused.output)["error"]["code"] == "permission-denied"
    assert DirectoryRegistry(registry).index(owl) is None
    assert commands.run(*arguments, cwd=tmp_path).code == 0
    assert DirectoryRegistry(registry).index(owl) is not None
