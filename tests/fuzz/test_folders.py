"""Folders that are not what they say: links, pipes, files in each other's place."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.fuzz.parsers import FROZEN

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import verify_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEVEN = ModuleName("digits", "7")
FILES = ["manifest.json", "module.safetensors", "README.md", "LICENSE"]

linked = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FROZEN / "digits-7", tmp_path / "dist")


@pytest.fixture
def registry(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    publish([folder], registry=tmp_path / "registry")
    return tmp_path / "registry"


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value.code


def by_link(path: Path) -> None:
    """Put a link to the same bytes in place of a file."""
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


REPLACED = [by_link, by_pipe, by_folder]


@linked
@pytest.mark.parametrize("replace", REPLACED)
@pytest.mark.parametrize("file", FILES)
def test_a_distribution_holds_regular_files_only(
    folder: Path, file: str, replace: Callable[[Path], None]
) -> None:
    replace(folder / file)

    expected = "not-a-distribution" if file == "manifest.json" else "not-a-regular-file"
    assert code_of(lambda: verify_distribution(folder)) == expected


@linked
@pytest.mark.parametrize("replace", REPLACED)
@pytest.mark.parametrize("file", FILES)
def test_a_registry_gives_regular_files_only(
    registry: Path, file: str, replace: Callable[[Path], None]
) -> None:
    replace(registry / "digits" / "7" / "1.0.0" / file)
    backend = DirectoryRegistry(registry)

    assert (
        code_of(lambda: backend.open_file(ReleaseFile(SEVEN, "1.0.0", file)))
        == "not-a-regular-file"
    )


@linked
@pytest.mark.parametrize("replace", REPLACED)
def test_an_index_is_a_regular_file(registry: Path, replace: Callable[[Path], None]) -> None:
    replace(registry / "digits" / "7" / "index.json")

    assert code_of(lambda: DirectoryRegistry(registry).index(SEVEN)) == "not-a-regular-file"


@pytest.mark.parametrize("name", ["evil.py", "module.pkl", ".hidden", "manifest.json.bak", "a\nb"])
def test_a_file_that_the_manifest_does_not_name_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")

    assert code_of(lambda: verify_distribution(folder)) == "unexpected-file"


@pytest.mark.parametrize(("one", "other"), [("README.md", "LICENSE"), ("LICENSE", "README.md")])
def test_files_in_each_others_place_are_refused(folder: Path, one: str, other: str) -> None:
    shutil.copyfile(folder / one, folder / other)

    assert code_of(lambda: verify_distribution(folder)) == "wrong-size"


def test_other_bytes_of_the_same_size_are_refused(folder: Path) -> None:
    data = (folder / "module.safetensors").read_bytes()
    (folder / "module.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert code_of(lambda: verify_distribution(folder)) == "wrong-digest"


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_refused(folder: Path, change: int) -> None:
    path = folder / "module.safetensors"
    os.truncate(path, path.stat().st_size + change)

    assert code_of(lambda: verify_distribution(folder)) == "wrong-size"
