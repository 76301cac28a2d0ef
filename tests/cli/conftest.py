"""The command as a user runs it: exit code, stdout, stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import pytest

from modpm.cli.main import main
from modpm.cli.output import set_quiet
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *arguments: str | Path) -> Outcome: ...


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, an empty one, beside a home that nothing is in."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODPM_REGISTRY", raising=False)
    return folder


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `modpm` in the current folder, in this process."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert here.is_dir()

    def run_modpm(*arguments: str | Path) -> Outcome:
        set_quiet(False)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_modpm


@pytest.fixture
def dist(tmp_path: Path, repository: Path) -> Path:
    """Return a folder of distributions: two versions of one module, and another module."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    for name, version in (("7", "1.0.0"), ("7", "1.1.0"), ("8", "1.0.0")):
        manifest = msgspec.structs.replace(golden.manifest, name=f"digits/{name}", version=version)
        write_distribution(tmp_path / "dist" / f"{name}-{version}", manifest, files)
    return tmp_path / "dist"


@pytest.fixture
def registry(tmp_path: Path, dist: Path) -> Path:
    """Return a registry that everything in `dist` is published to."""
    publish([dist], tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def pets(tmp_path: Path, repository: Path, registry: Path) -> Path:
    """Return the registry with a release of `digits/pets` more, which requires two others."""
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    manifest = msgspec.structs.replace(
        golden.manifest, name="digits/pets", requires=["digits/7<2", "digits/8"]
    )
    write_distribution(tmp_path / "pets", manifest, files)
    publish([tmp_path / "pets"], registry)
    return registry
