"""Nothing outside a project, a store or a registry is touched, whatever a clone has in it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from modpm.core.errors import ModpmError
from modpm.core.system.durable import kind_of, remove_folder
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.installing.installation import install, remove, sync, update
from modpm.registry.installing.installed import find, installed
from modpm.registry.installing.verification import verify
from modpm.registry.pins.locking import lock
from modpm.registry.publication.changing import tag, yank
from modpm.registry.publication.mirroring import mirror
from modpm.registry.publication.publishing import publish
from modpm.registry.storage.caching import prune, verify_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution, Put

DEPTH = 1500
"""Folders in folders: deeper than functions may call themselves, and than a path may be long."""

WRITERS: dict[str, Callable[[Path], object]] = {
    "sync": sync,
    "install": lambda project: install(["digits/8"], project),
    "update": lambda project: update(project=project),
    "remove": lambda project: remove(["digits/7"], project),
    "lock": lock,
    "repair": lambda project: verify(project, repair=True),
}
"""Every verb that writes into a project."""


@pytest.fixture
def project(tmp_path: Path, put: Put) -> Path:
    """Return a project with `digits/7` from a registry that has two releases of it."""
    put("digits/7")
    put("digits/8")
    root = tmp_path / "project"
    root.mkdir()
    install(["digits/7"], root, tmp_path / "registry")
    put("digits/7", "1.1.0")
    return root


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a folder of somebody's, with folders and files of every age in it."""
    folder = tmp_path / "precious"
    for name in ("7", "letters", "sha256"):
        (folder / name / "1.0.0").mkdir(parents=True)
        (folder / name / "1.0.0" / "a.txt").write_text("dear")
    (folder / "installed.lock").write_text("format_version = 1\n")
    (folder / "namespaces.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything that is in a folder: its kind, when it was written, what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, data)
    return found


def attempt(writer: Callable[[], object]) -> ModpmError | None:
    """Run a writer, which may refuse in our own words, and not otherwise."""
    try:
        writer()
    except ModpmError as error:
        return error
    return None


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize(
    "place",
    [
        ".modpm",
        ".modpm/modules",
        ".modpm/modules/digits",
        ".modpm/modules/digits/7",
        ".modpm/modules/other",
        ".modpm/staging",
        ".modpm/.lock",
        ".modpm/.gitignore",
        ".modpm/installed.lock",
    ],
)
def test_no_verb_follows_a_link_out_of_the_project(
    project: Path, precious: Path, verb: str, place: str
) -> None:
    target = precious / "installed.lock" if place.endswith(("lock", "ignore")) else precious
    link = project / place
    remove_folder(link)
    link.symlink_to(target)
    before = contents(precious)

    refused = attempt(lambda: WRITERS[verb](project))

    assert contents(precious) == before
    assert refused is None or refused.code == "link-in-the-way"
    if refused is None and verb != "lock" and place.startswith(".modpm/modules/"):
        assert not link.is_symlink()  # what was in the way of modules is gone, and they are there
        assert verify(project) is not None


@pytest.mark.parametrize("verb", [verb for verb in WRITERS if verb != "lock"])
def test_no_verb_changes_anything_outside_a_project_of_hostile_things(
    project: Path, precious: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    modules = project / ".modpm" / "modules"
    (modules / "away").symlink_to(precious)
    (modules / "digits" / "away").symlink_to(precious)
    (modules / "digits" / "7" / "away").symlink_to(precious / "7")
    (modules / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(modules / "pipe")
    os.mkfifo(modules / "digits" / "7" / "pipe")
    monkeypatch.chdir(modules)  # the address of a socket has no more than some 100 bytes
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    listener.close()
    monkeypatch.chdir(tmp_path)
    (modules / ("n" * 255)).mkdir()
    (modules / os.fsdecode(b"not-utf-8-\xff")).mkdir()
    (modules / "digits" / ("f" * 255)).write_text("a file")
    nest(modules / "deep")
    nest(project / ".modpm" / "staging")
    before = contents(precious)

    WRITERS[verb](project)

    assert contents(precious) == before
    names = [module.name.name for module in installed(project)]
    assert [path.name for path in modules.iterdir()] == ["digits"] * bool(names)
    assert sorted(path.name for path in modules.glob("digits/*")) == sorted(names)
    assert len(list(modules.glob("*/*/*"))) == len(names)
    assert verify(project) is not None


def nest(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_stands_where_the_record_of_what_is_installed_belongs_is_refused(
    project: Path, what: str
) -> None:
    record = project / ".modpm" / "installed.lock"
    record.unlink()
    os.mkfifo(record) if what == "pipe" else record.mkdir()
    for verb in (lambda: sync(project), lambda: installed(project), lambda: verify(project)):
        refused = attempt(verb)
        assert refused is not None
        assert refused.code == "link-in-the-way"


def test_modules_behind_a_link_are_not_loaded_and_do_not_verify(
    project: Path, tmp_path: Path
) -> None:
    namespace = project / ".modpm" / "modules" / "digits"
    shutil.move(namespace, tmp_path / "elsewhere")
    namespace.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModpmError, match="is not installed"):
        find("digits/7", project)
    with pytest.raises(ModpmError, match="symbolic link"):
        verify(project)


@pytest.mark.parametrize(
    "place", ["digits", "digits/7", "digits/7/1.1.0", ".staging", ".lock", "digits/9"]
)
def test_publishing_writes_nothing_behind_a_link_in_a_registry(
    tmp_path: Path, put: Put, precious: Path, make_distribution: MakeDistribution, place: str
) -> None:
    put("digits/7")
    registry = tmp_path / "registry"
    link = registry / place
    remove_folder(link)
    link.symlink_to(precious / "namespaces.json" if place == ".lock" else precious)
    new = [make_distribution("digits/7", "1.1.0"), make_distribution("digits/9")]
    before = contents(precious)
    writers = (
        lambda: publish([one.folder for one in new], registry),
        lambda: yank("digits/7==1.0.0", "it is bad", registry),
        lambda: tag("digits/7==1.0.0", "stable", registry),
    )

    for writer in writers:
        refused = attempt(writer)
        assert refused is None or refused.code in {"link-in-the-way", "unknown-module"}

    assert contents(precious) == before


def test_a_mirror_is_not_written_behind_a_link(
    project: Path, tmp_path: Path, precious: Path, put: Put
) -> None:
    put("digits/8", to=tmp_path / "copy")
    (tmp_path / "copy" / "digits" / "7").symlink_to(precious)
    before = contents(precious)
    refused = attempt(lambda: mirror(tmp_path / "copy", project=project))
    assert refused is not None
    assert refused.code == "link-in-the-way"
    assert contents(precious) == before


def test_pruning_the_store_removes_nothing_behind_a_link(
    project: Path, tmp_path: Path, precious: Path
) -> None:
    blobs = next(tmp_path.rglob("blobs"))
    digits = "0" * 64
    (precious / digits).write_text("not in the store")
    (blobs / "sha256" / "ff").symlink_to(precious)
    (blobs / "sha256" / "fe").mkdir(exist_ok=True)
    (blobs / "sha256" / "fe" / digits).symlink_to(precious / digits)
    before = contents(precious)
    prune()
    attempt(lambda: verify_store(repair=True))
    assert contents(precious) == before
    assert project.is_dir()


def test_modules_behind_a_link_are_not_listed_in_a_registry(tmp_path: Path, put: Put) -> None:
    put("digits/7")
    put("secret/plan", to=tmp_path / "elsewhere")
    registry = tmp_path / "registry"
    (registry / "secret").symlink_to(tmp_path / "elsewhere" / "secret")
    (registry / "digits" / "plan").symlink_to(tmp_path / "elsewhere" / "secret" / "plan")
    backend = DirectoryRegistry(registry)
    assert list(map(str, backend.names())) == ["digits/7"]
    assert list(map(str, backend.names("digits"))) == ["digits/7"]
    assert backend.names("secret") == []


def test_a_junction_of_windows_is_a_link_and_no_folder(tmp_path: Path) -> None:
    class Junction(NamedTuple):
        st_mode: int = stat.S_IFDIR | 0o777
        st_reparse_tag: int = 0xA0000003  # what Windows calls IO_REPARSE_TAG_MOUNT_POINT

    assert kind_of(cast("os.stat_result", Junction())) == stat.S_IFLNK
    assert kind_of(cast("os.stat_result", Junction(st_reparse_tag=0))) == stat.S_IFDIR
    assert kind_of(tmp_path.lstat()) == stat.S_IFDIR


def test_a_registry_may_itself_be_reached_by_a_link(tmp_path: Path, put: Put) -> None:
    put("digits/7")
    (tmp_path / "named").symlink_to(tmp_path / "registry")
    root = tmp_path / "other"
    root.mkdir()
    assert [m.version for m in install(["digits/7"], root, tmp_path / "named").modules] == ["1.0.0"]
