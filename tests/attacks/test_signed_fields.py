"""What was resolved is what was signed: an index or a lock cannot say otherwise than a manifest."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from modpm.cli.main import main
from modpm.core.formats import canonical_json
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.registry.backends.directory import DirectoryRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = "sha256:" + "7" * 64


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def project(
    tmp_path: Path, repository: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project that has nothing yet, and a registry with `acme/cat`, `acme/dog`, `evil/trojan`."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODPM_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("MODPM_REGISTRY", str(registry))
    monkeypatch.setenv("NO_COLOR", "1")
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    origin = msgspec.structs.replace(golden.module_manifest.origin, digest=OTHER)
    for name, origin_of in (
        ("acme/cat", golden.module_manifest.origin),
        ("acme/dog", origin),
        ("evil/trojan", origin),
    ):
        manifest = msgspec.structs.replace(golden.module_manifest, name=name, origin=origin_of)
        made = write_distribution(tmp_path / "dist", manifest, files)
        DirectoryRegistry(registry).publish([made])
        shutil.rmtree(made.folder)
    return folder


def say(registry: Path, name: str, **fields: object) -> None:
    """Let the index of a name say something else of its release."""
    (path,) = (p for p in registry.rglob("index.json") if name in str(p))
    index = json.loads(path.read_bytes())
    index["releases"][0].update(fields)
    path.write_bytes(canonical_json.encode(index))


def run(*arguments: str) -> int:
    return main(list(arguments))


def visible(project: Path) -> list[str]:
    folders = (project / ".modpm" / "modules").glob("*/*")
    files = (project / name for name in ("modpm.toml", "modpm.lock", ".modpm/installed.lock"))
    return sorted(str(p.relative_to(project)) for p in (*folders, *files) if p.exists())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requires", ["evil/trojan"]),
        ("origin", OTHER),
        ("label", "animals/dog"),
        ("summary", "better than all"),
        ("license", "proprietary"),
        ("macs", 1),
        ("n_parameters", 1),
        ("metrics", []),
    ],
)
def test_a_registry_cannot_say_of_a_module_what_its_manifest_does_not(
    project: Path, registry: Path, field: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    say(registry, "cat", **{field: value})

    assert run("install", "acme/cat", "--json") == 1

    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "index-differs"
    assert field in error["why"] or "evil/trojan" in error["why"]
    assert visible(project) == []


def test_neither_can_it_when_the_store_has_all_files(
    project: Path, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert run("install", "acme/cat", "evil/trojan", "--project", str(other)) == 0
    say(registry, "cat", requires=["evil/trojan"])
    capsys.readouterr()

    assert run("install", "acme/cat") == 1

    assert "it requires nothing; listed or locked is evil/trojan" in capsys.readouterr().err
    assert visible(project) == []


def test_neither_can_it_of_what_is_installed(
    project: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "acme/cat") == 0
    say(registry, "cat", requires=["evil/trojan"])
    before = (project / "modpm.lock").read_bytes()
    capsys.readouterr()

    assert run("install", "acme/dog") == 1
    assert "it requires nothing; listed or locked is evil/trojan" in capsys.readouterr().err
    assert run("update") == 1
    assert (project / "modpm.lock").read_bytes() == before


def test_a_lock_made_from_such_an_index_cannot_be_installed(
    project: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "modpm.toml").write_text('requirements = ["acme/cat"]\n')
    say(registry, "cat", requires=["evil/trojan"])
    assert run("lock") == 0
    say(registry, "cat", requires=[])
    capsys.readouterr()

    for verb in (["sync"], ["install"], ["install", "--locked"], ["sync", "--frozen"]):
        assert run(*verb) == 1
        assert "listed or locked is evil/trojan" in capsys.readouterr().err
    assert not (project / ".modpm" / "installed.lock").exists()


def edited(project: Path, change: Callable[[str], str]) -> None:
    path = project / "modpm.lock"
    path.write_text(change(path.read_text()))


def test_requirements_written_into_a_lock_by_hand_are_refused_where_all_is_installed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "acme/cat", "evil/trojan") == 0
    toml = project / "modpm.toml"
    toml.write_text(toml.read_text().replace("evil/trojan~=1.0", "acme/cat~=1.0"))
    edited(project, lambda text: text.replace('  "evil/trojan~=1.0",\n', ""))
    registry_line = next(
        line for line in (project / "modpm.lock").read_text().splitlines() if "registry = " in line
    )
    requires = f'{registry_line}\nrequires = [\n  "evil/trojan",\n]'
    edited(project, lambda text: text.replace(registry_line, requires, 1))
    capsys.readouterr()

    assert run("verify") == 1
    assert "acme/cat 1.0.0: is locked in other words" in capsys.readouterr().err
    for verb in (["sync"], ["install", "--locked"]):
        assert run(*verb) == 1
        assert "it requires nothing; listed or locked is evil/trojan" in capsys.readouterr().err


def test_modules_of_other_origins_are_not_of_one_because_a_registry_says_so(
    project: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "modpm.toml").write_text(
        'requirements = ["acme/cat", "acme/dog"]\nsame-origin = true\n'
    )
    say(registry, "cat", origin=OTHER)
    capsys.readouterr()
    assert run("install") == 1
    assert "what is locked is not of one origin" in capsys.readouterr().err

    assert run("lock") == 0
    capsys.readouterr()
    assert run("sync") == 1
    assert "is not of one origin" in capsys.readouterr().err
    assert not (project / ".modpm" / "installed.lock").exists()
