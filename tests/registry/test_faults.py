"""Installing, syncing and publishing, ended at every single write: by an error, and by a kill."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify
from modpm.registry.projects.project import Project
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

WRITES = ("fsync", "replace", "link", "mkdir", "chmod", "unlink", "rmdir")
CATS = ["digits/cat>1", "digits/dog"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@contextmanager
def fault_at(n: int, fault: Callable[[], NoReturn]) -> Iterator[None]:
    """Let the n-th write fail, and every later one too."""
    n_written = 0
    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            original = getattr(os, name)

            def write(*arguments: Any, _original: Any = original, **options: Any) -> Any:  # noqa: ANN401 - any of them
                nonlocal n_written
                n_written += 1
                if n_written >= n:
                    fault()
                return _original(*arguments, **options)

            patch.setattr(os, name, write)
        yield


def disk_full() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")


def die() -> NoReturn:
    os._exit(9)


def killed_at(n: int, work: Callable[[], object]) -> bool:
    """Do the work in another process that dies at its n-th write; say whether it died."""
    child = os.fork()
    if child == 0:
        with fault_at(n, die):
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def fails_at(n: int, work: Callable[[], object]) -> bool:
    """Do the work with a disk that is full from the n-th write on; say whether it failed."""
    with fault_at(n, disk_full):
        try:
            work()
        except ModpmError as error:
            assert error.code == "disk-full"  # noqa: PT017 - it may end well, too
            return True
    return False


ENDINGS = pytest.mark.parametrize("ends", [fails_at, pytest.param(killed_at, marks=needs_fork)])


@pytest.fixture
def old(make_distribution: MakeDistribution, registry: Path, project: Path) -> dict[str, str]:
    """A project with an old release, and a registry with newer ones."""
    releases = [("digits/cat", "1.0.0"), ("digits/cat", "1.1.0"), ("digits/dog", "1.0.0")]
    publish([make_distribution(name, version).folder for name, version in releases], registry)
    install(["digits/cat==1.0.0"], project, registry)
    return present(project)


def present(project: Path) -> dict[str, str]:
    """Return what is installed, every byte of it verified."""
    place = Project(project)
    lock = place.installed()
    if lock is not None and lock == place.lock():
        verify(project)
    return {str(module.name): module.version for module in installed(project)}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(("staging", ".part"))]


@ENDINGS
def test_an_installation_that_ends_early_leaves_the_old_state_or_the_new(
    old: dict[str, str],
    project: Path,
    home: Path,
    ends: Callable[[int, Callable[[], object]], bool],
) -> None:
    new = {"digits/cat": "1.1.0", "digits/dog": "1.0.0"}
    n_old = 0
    for n in count(1):
        has_ended = ends(n, lambda: install(CATS, project))
        assert present(project) in (old, new)
        n_old += present(project) == old
        if not has_ended:
            break
        if present(project) == new:
            install(["digits/cat==1.0.0"], project)
    assert n_old >= 10  # as many writes at least come before the new state
    assert present(project) == new
    assert len(verify(project)) == 2
    assert leftovers(project) == leftovers(home) == []
    assert len(list((project / ".modpm" / "modules").glob("*/*/*"))) == 2


@ENDINGS
def test_after_an_installation_that_ended_early_the_same_command_completes_it(
    old: dict[str, str],
    project: Path,
    home: Path,
    ends: Callable[[int, Callable[[], object]], bool],
) -> None:
    assert old == {"digits/cat": "1.0.0"}
    for n in range(1, 40, 3):
        ends(n, lambda: install(CATS, project))
        install(CATS, project)

        assert present(project) == {"digits/cat": "1.1.0", "digits/dog": "1.0.0"}
        assert len(verify(project)) == 2
        assert leftovers(project) == leftovers(home) == []
        install(["digits/cat==1.0.0", "digits/dog"], project)


@ENDINGS
def test_a_syncing_that_ends_early_leaves_the_old_state_or_the_new_and_can_be_repeated(
    old: dict[str, str],
    project: Path,
    home: Path,
    tmp_path: Path,
    ends: Callable[[int, Callable[[], object]], bool],
) -> None:
    new = {"digits/cat": "1.1.0", "digits/dog": "1.0.0"}
    before = {
        folder: shutil.copytree(folder, tmp_path / "saved" / folder.name, symlinks=True)
        for folder in (project, home)
    }
    install(CATS, project)
    wanted = {path: path.read_bytes() for path in project.glob("modpm.*")}
    n_old = 0
    for n in count(1):
        for folder, saved in before.items():
            shutil.rmtree(folder)
            shutil.copytree(saved, folder, symlinks=True)
        for path, content in wanted.items():
            path.write_bytes(content)

        has_ended = ends(n, lambda: sync(project))

        assert present(project) in (old, new)
        n_old += present(project) == old
        sync(project)
        assert {str(module.name): module.version for module in verify(project)} == new
        assert leftovers(project) == leftovers(home) == []
        if not has_ended:
            break
    assert n_old >= 10


@ENDINGS
def test_a_publishing_that_ends_early_lists_only_whole_releases(
    make_distribution: MakeDistribution,
    registry: Path,
    project: Path,
    ends: Callable[[int, Callable[[], object]], bool],
) -> None:
    publish([make_distribution("digits/cat").folder], registry)
    folders = [
        make_distribution("digits/cat", "1.1.0").folder,
        make_distribution("digits/dog").folder,
    ]
    for n in count(1):
        has_ended = ends(n, lambda: publish(folders, registry))
        reader = DirectoryRegistry(registry)
        for module in reader.names():
            index = reader.index(module)
            assert index is not None
            for release in index.releases:
                install([f"{module}=={release.version}"], project, registry)
        if not has_ended:
            break
    assert [str(name) for name in DirectoryRegistry(registry).names()] == [
        "digits/cat",
        "digits/dog",
    ]
    assert leftovers(registry) == []
    cat = DirectoryRegistry(registry).index(ModuleName("digits", "cat"))
    assert cat is not None
    assert [release.version for release in cat.releases] == ["1.0.0", "1.1.0"]


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no SIGKILL")
def test_a_command_that_is_killed_leaves_the_old_state_or_the_new(
    old: dict[str, str], project: Path
) -> None:
    imports = "from modpm.registry.installing.installation import install"
    code = f"{imports}; print(1, flush=True); install({CATS})"
    for i in range(4):
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 * i)
            process.send_signal(signal.SIGKILL)
        assert present(project) in (old, {"digits/cat": "1.1.0", "digits/dog": "1.0.0"})
    install(CATS, project)
    assert len(verify(project)) == 2


def test_a_folder_that_may_not_be_written_is_explained(
    old: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)

    with pytest.raises(ModpmError) as caught:
        install(CATS, project)

    assert (caught.value.code, caught.value.what) == ("permission-denied", "cannot install")
    monkeypatch.undo()
    assert present(project) == old
