"""A lockfile means what it says: one that does not meet its project is refused by every verb."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from modpm.cli.main import main
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.registry.backends.directory import DirectoryRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

VERBS = (["sync"], ["install", "--locked"], ["lock", "--locked"], ["verify"])


@pytest.fixture
def project(here: Path, tmp_path: Path, repository: Path) -> Path:
    """A project that asks for `acme/cat`, which requires `acme/eye`."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}

    def put(name: str, version: str = "1.0.0", requires: Sequence[str] = ()) -> None:
        manifest = msgspec.structs.replace(
            golden.manifest, name=name, version=version, requires=list(requires)
        )
        made = write_distribution(tmp_path / "dist", manifest, files)
        DirectoryRegistry(tmp_path / "registry").publish([made])
        shutil.rmtree(made.folder)

    put("acme/eye")
    put("acme/dog")
    put("acme/cat", requires=["acme/eye>=1"])
    assert run("install", "acme/cat", "--registry", "../registry") == 0
    return here


def run(*arguments: str) -> int:
    return main(list(arguments))


def pinned(lock: str, name: str) -> str:
    """Return the part of a lockfile that pins a module."""
    return next(part for part in lock.split("\n[[modules]]\n") if f'name = "{name}"' in part)


def without(lock: str, name: str) -> str:
    return lock.replace("\n[[modules]]\n" + pinned(lock, name), "")


def renamed(lock: str, name: str, other: str) -> str:
    """Pin something that nothing asks for, besides what there is."""
    part = pinned(lock, name)
    return lock + "\n[[modules]]\n" + part.replace(f'"{name}"', f'"{other}"')


def changed(name: str, old: str, new: str) -> Callable[[str], str]:
    return lambda lock: lock.replace(
        pinned(lock, name), pinned(lock, name).replace(f'"{old}"', f'"{new}"')
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lock: without(lock, "acme/cat"), "asks for `acme/cat~=1.0`, and none is locked"),
        (lambda lock: without(lock, "acme/eye"), "asks for `acme/eye>=1`, and none is locked"),
        (changed("acme/cat", "1.0.0", "2.0.0"), "and `acme/cat` 2.0.0 is locked"),
        (changed("acme/eye", "1.0.0", "0.9"), "and `acme/eye` 0.9 is locked"),
        (changed("acme/cat", "acme/eye>=1", "acme/eye>=2"), "and `acme/eye` 1.0.0 is locked"),
        (lambda lock: renamed(lock, "acme/eye", "evil/trojan"), "and nothing asks for it"),
        (changed("acme/cat", "../registry", "../evil"), "`acme/cat` is locked from "),
        (changed("acme/eye", "../registry", "https://evil.example"), "`acme/eye` is locked from "),
    ],
)
def test_a_lockfile_that_does_not_meet_its_project_is_refused_by_every_verb(
    project: Path,
    change: Callable[[str], str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = project / "modpm.lock"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    capsys.readouterr()

    for verb in VERBS:
        assert run(*verb) == 1
        error = capsys.readouterr().err
        assert words in error, verb
        assert "`modpm.lock` is out of step" in error or verb == ["verify"]


def test_all_that_is_wrong_with_a_lockfile_is_said_at_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "modpm.lock"
    path.write_text(renamed(without(path.read_text(), "acme/eye"), "acme/cat", "evil/trojan"))
    capsys.readouterr()

    assert run("sync") == 1

    error = capsys.readouterr().err
    assert "`acme/cat` asks for `acme/eye>=1`, and none is locked" in error
    assert "`evil/trojan` 1.0.0 is locked, and nothing asks for it" in error


def test_installing_mends_a_lockfile_that_lost_what_it_needs(project: Path) -> None:
    path = project / "modpm.lock"
    before = path.read_text()
    path.write_text(without(before, "acme/eye"))

    assert run("install") == 0

    assert path.read_text() == before
    assert [run(*verb) for verb in VERBS] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda lock: lock.replace("format_version = 1", "format_version = 2"),
        lambda lock: lock.replace("format_version = 1", 'format_version = 1\nhash = "blake3"'),
        lambda lock: lock.replace('version = "1.0.0"', 'version = "1.0.0"\nplatform = "any"', 1),
        lambda lock: lock.replace("size_bytes", "compressed = true, size_bytes", 1),
    ],
)
def test_a_lockfile_of_a_newer_version_is_called_newer(
    project: Path, change: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "modpm.lock"
    path.write_text(change(path.read_text()))
    capsys.readouterr()

    for verb in VERBS:
        assert run(*verb) == 1
        error = capsys.readouterr().err
        assert "`modpm.lock` was written by a newer version of modpm" in error
        assert "hint: upgrade modpm" in error
