"""A namespace belongs to one registry of a project: nobody else's release of it is ever taken."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest
from tests.attacks.web_servers import serving

from modpm.cli.main import main
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.registry.backends.directory import DirectoryRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.attacks.web_servers import Answer, Asked


class Put(Protocol):
    def __call__(
        self, to: Path, name: str, version: str = "1.0.0", *, requires: Sequence[str] = ()
    ) -> str: ...


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def put(tmp_path: Path, repository: Path) -> Put:
    golden = read_distribution(repository / "specs" / "vectors" / "distribution" / "digits-7")
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}

    def publish(
        to: Path, name: str, version: str = "1.0.0", *, requires: Sequence[str] = ()
    ) -> str:
        manifest = msgspec.structs.replace(
            golden.manifest, name=name, version=version, summary=str(to), requires=list(requires)
        )
        made = write_distribution(tmp_path / "dist", manifest, files)
        DirectoryRegistry(to).publish([made])
        shutil.rmtree(made.folder)
        return made.digest

    return publish


@pytest.fixture
def internal(tmp_path: Path) -> Path:
    return tmp_path / "internal"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return tmp_path / "public"


@pytest.fixture
def both(put: Put, here: Path, internal: Path, public: Path) -> Path:
    """A project of two registries, of which the public one squats on the internal namespace."""
    put(internal, "acme/cat")
    put(public, "acme/cat", "9.0.0")
    put(public, "acme/dog", "9.0.0")
    put(public, "vision/dog")
    toml = here / "modpm.toml"
    toml.write_text(
        "# ours\nrequirements = []\n\n"
        '[[registries]]\nname = "internal"\nurl = "../internal"\n\n'
        '[[registries]]\nname = "public"\nurl = "../public"\n'
    )
    return toml


def toml_of(here: Path) -> dict[str, Any]:
    return tomllib.loads((here / "modpm.toml").read_text())


def locked(here: Path) -> dict[str, str]:
    lock = tomllib.loads((here / "modpm.lock").read_text())
    return {m["name"]: f"{m['version']} of {m['registry']['name']}" for m in lock["modules"]}


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.usefixtures("both")
def test_what_is_installed_first_binds_its_namespace_and_what_it_requires(
    here: Path, put: Put, public: Path
) -> None:
    put(public, "vision/pets", requires=["acme/cat"])

    assert run("install", "vision/pets") == 0

    assert locked(here) == {"acme/cat": "1.0.0 of internal", "vision/pets": "1.0.0 of public"}
    assert toml_of(here)["namespaces"] == {"acme": "internal", "vision": "public"}
    assert (here / "modpm.toml").read_text().startswith("# ours\n")


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("asked", ["acme/dog", "acme/*", "vision/pack"])
def test_a_name_that_its_registry_lacks_is_not_taken_from_another(
    here: Path, put: Put, public: Path, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(public, "vision/pack", requires=["acme/dog"])
    assert run("install", "acme/cat") == 0
    capsys.readouterr()

    run("install", asked)

    assert not any("9.0.0" in release for release in locked(here).values())
    if asked == "acme/dog":
        assert "is not taken instead" in capsys.readouterr().err


@pytest.mark.usefixtures("both")
def test_before_anything_is_locked_the_registry_that_has_the_namespace_has_it_all(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody ever installed anything of `acme`, and only the public registry has this name.
    assert run("install", "acme/dog") == 1

    error = capsys.readouterr().err
    assert "there is no module `acme/dog`" in error
    assert "`acme` belongs to `internal`" in error
    assert not (here / "modpm.lock").exists()


@pytest.mark.usefixtures("both")
def test_a_registry_that_is_away_is_not_passed_over(
    here: Path, internal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    internal.rename(internal.with_name("unmounted"))

    assert run("install", "acme/cat") == 1
    assert run("install", "acme/*") == 1
    assert "there is no such registry" in capsys.readouterr().err
    assert not (here / "modpm.lock").exists()


def test_a_registry_that_is_named_for_one_namespace_gets_no_other(
    here: Path, put: Put, internal: Path, public: Path
) -> None:
    put(internal, "acme/cat")
    put(public, "acme/cat", "9.0.0")  # squatted, and required by what the user wants
    put(public, "vision/pets", requires=["acme/cat"])
    (here / "modpm.toml").write_text('registries = [{ name = "internal", url = "../internal" }]\n')

    assert run("install", "vision/pets", "--registry", public) == 0

    assert locked(here) == {"acme/cat": "1.0.0 of internal", "vision/pets": "1.0.0 of public"}


def test_a_registry_that_does_not_tell_what_it_has_is_not_passed_over(
    here: Path, put: Put, internal: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(internal, "vision/dog")
    put(public, "acme/cat")
    (internal / "namespaces.json").unlink()

    def answer(asked: Asked) -> Answer:
        path = internal / asked.path.lstrip("/")
        return (200, [], path.read_bytes()) if path.is_file() else (404, [], b"")

    with serving(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert run("install", "vision/cat", "--registry", url) == 1
        assert "there is no module `vision/cat`" in capsys.readouterr().err
        (here / "modpm.toml").write_text(
            f'registries = [{{ name = "i", url = "{url}" }}, {{ name = "p", url = "../public" }}]\n'
        )
        assert run("install", "acme/cat") == 1
        assert "namespaces = {" in capsys.readouterr().err  # how to go on
        assert run("install", "acme/cat", "--registry", public) == 0
    assert locked(here) == {"acme/cat": "1.0.0 of p"}


@pytest.mark.usefixtures("both")
def test_a_release_that_left_its_registry_is_not_replaced_by_anothers(
    here: Path, internal: Path
) -> None:
    assert run("install", "acme/cat>=1") == 0
    shutil.rmtree(internal / "acme")

    for arguments in (["update"], ["lock"], ["install", "acme/*"], ["update", "acme/cat"]):
        run(*arguments)
        assert locked(here) == {"acme/cat": "1.0.0 of internal"}


@pytest.mark.usefixtures("both")
def test_naming_another_registry_does_not_move_a_namespace_and_saying_so_does(
    here: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "acme/cat>=1") == 0

    assert run("install", "acme/cat", "--registry", public) == 1
    assert run("install", "acme/cat>=2", "--registry", public) == 1
    assert "--move-namespace acme" in capsys.readouterr().err
    assert run("update", "acme/cat", "--registry", public) == 1
    assert locked(here) == {"acme/cat": "1.0.0 of internal"}
    assert run("install", "--move-namespace", "acme") == 2  # where to?
    assert run("lock", "--registry", public, "--move-namespace", "Acme") == 0
    assert toml_of(here)["namespaces"] == {"acme": "public"}
    assert locked(here) == {"acme/cat": "9.0.0 of public"}


@pytest.mark.usefixtures("both")
def test_the_same_version_of_another_registry_is_the_same_release_or_refused(
    here: Path, put: Put, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "acme/cat<2") == 0
    put(public, "acme/cat")

    assert run("lock", "--registry", public, "--move-namespace", "acme") == 1

    assert "is not the release that was locked" in capsys.readouterr().err
    assert toml_of(here)["namespaces"] == {"acme": "internal"}


@pytest.mark.usefixtures("put")
def test_a_lock_that_takes_a_namespace_from_another_registry_is_refused(
    both: Path, here: Path, put: Put, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "acme/cat<2") == 0
    ours = here / "modpm.lock"
    evil = put(public, "acme/cat", "1.5.0")
    kept = ours.read_bytes(), both.read_bytes()
    both.write_text(both.read_text().replace('acme = "internal"', 'acme = "public"'))
    assert run("lock") == 0  # by hand, and on purpose
    assert evil in ours.read_text()
    both.write_bytes(kept[1])  # a bad merge, or a hostile pull request, brings the lock alone

    for arguments in (["sync"], ["install", "--locked"], ["lock", "--locked"]):
        capsys.readouterr()
        assert run(*arguments) == 1
        error = capsys.readouterr().err
        assert "out of step" in error
        assert "`acme` belongs to `internal`" in error
    assert run("lock") == 0
    assert ours.read_bytes() == kept[0]


@pytest.mark.usefixtures("both")
def test_a_lock_from_a_registry_that_the_project_does_not_have_is_refused(
    here: Path, tmp_path: Path, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "evil", "vision/dog", "1.1.0")
    assert run("install", "vision/dog") == 0
    toml = here / "modpm.toml"
    before = toml.read_text()
    assert run("lock", "--registry", tmp_path / "evil", "--move-namespace", "vision") == 0
    toml.write_text(before.partition("[namespaces]")[0])
    capsys.readouterr()

    assert run("sync") == 1
    assert "which is no registry of the project" in capsys.readouterr().err
    assert run("lock") == 1
    assert run("install", "--locked") == 1


def test_the_environments_registry_ranks_as_the_help_says(
    here: Path, put: Put, internal: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(internal, "acme/cat")
    put(public, "acme/cat", "9.0.0")
    (here / "modpm.toml").write_text('registries = [{ name = "internal", url = "../internal" }]\n')
    monkeypatch.setenv("MODPM_REGISTRY", str(public))

    assert run("install", "acme/cat") == 0  # by default those of modpm.toml, or else the variable

    assert locked(here) == {"acme/cat": "1.0.0 of internal"}
    (here / "modpm.toml").write_text("")
    (here / "modpm.lock").unlink()
    assert run("install", "acme/cat") == 0
    assert locked(here) == {"acme/cat": "9.0.0 of public"}
    assert toml_of(here)["registries"] == [{"name": "public", "url": str(public)}]


def test_settings_of_the_user_name_registries_and_whose_namespaces_they_have(
    here: Path, put: Put, internal: Path, public: Path, tmp_path: Path
) -> None:
    put(internal, "acme/cat")
    put(public, "acme/cat", "9.0.0")
    (tmp_path / "config.toml").write_text(
        '[[registries]]\nname = "work"\nurl = "internal"\n\n[namespaces]\nacme = "work"\n'
    )
    (here / "modpm.toml").write_text('registries = [{ name = "work", url = "../public" }]\n')

    assert run("install", "acme/cat") == 0  # the name `work` of a project is not the user's

    assert locked(here) == {"acme/cat": "1.0.0 of work-2"}
    assert toml_of(here)["namespaces"] == {"acme": "work-2"}
    assert toml_of(here)["registries"][1] == {"name": "work-2", "url": str(internal)}
    (here / "modpm.toml").write_text("")
    (here / "modpm.lock").unlink()
    assert run("install", "acme/cat", "--registry", public) == 1  # it is said to be internal
    assert run("install", "acme/cat") == 0
    (tmp_path / "config.toml").unlink()
    assert run("sync") == 0  # the project says it itself now


@pytest.mark.parametrize(
    "text",
    [
        "registry = []",
        'registries = "x"',
        '[namespaces]\nacme = "work"',
        'requirements = ["acme/cat"]',
        "\x00",
    ],
)
def test_damaged_settings_are_told_by_their_file(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(text)

    assert run("install", "acme/cat") == 1
    assert str(tmp_path / "config.toml") in capsys.readouterr().err


def test_a_tilde_in_a_variable_is_the_users_folder(
    here: Path, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODPM_HOME", "~/store")
    monkeypatch.setenv("MODPM_CONFIG", "~/mine.toml")
    monkeypatch.setenv("MODPM_REGISTRY", "~/modules")
    (tmp_path / "mine.toml").write_text('registries = [{ name = "mine", url = "more" }]\n')
    put(tmp_path / "modules", "acme/cat")
    put(tmp_path / "more", "vision/dog")

    assert run("install", "acme/cat", "vision/dog") == 0

    assert locked(here) == {"acme/cat": "1.0.0 of modules", "vision/dog": "1.0.0 of mine"}
    assert (tmp_path / "store").is_dir()
    assert [path.name for path in here.iterdir() if "~" in path.name] == []


@pytest.mark.parametrize(
    ("version", "bound"),
    [
        ("1.2.3", "~=1.2"),
        ("2", "~=2.0"),
        ("0.3.1", "~=0.3"),
        ("2.0.0rc1", "~=2.0rc1"),
        ("1.2.3.dev4", "~=1.2.dev4"),
        ("1.2.post1", "~=1.2"),
        ("1!2.3", "~=1!2.3"),
    ],
)
def test_a_bare_name_is_written_with_the_bound_that_keeps_the_first_number(
    here: Path, put: Put, internal: Path, version: str, bound: str
) -> None:
    put(internal, "acme/cat", version)

    assert run("install", "acme/cat", "--registry", internal) == 0

    assert toml_of(here)["requirements"] == [f"acme/cat{bound}"]
    lock = tomllib.loads((here / "modpm.lock").read_text())
    assert lock["requirements"] == [f"acme/cat{bound}"]
    for arguments in (["sync"], ["install", "--locked"], ["lock", "--locked"], ["update"]):
        assert run(*arguments) == 0
    assert next(iter(locked(here).values())).partition(" ")[0] == version


def test_a_bound_that_is_there_is_never_erased(here: Path, put: Put, internal: Path) -> None:
    for version in ("1.0.0", "1.5.0", "2.0.0"):
        put(internal, "acme/cat", version)
    asked = run("install", "acme/cat<1.2", "--registry", internal)
    assert asked == 0
    before = (here / "modpm.toml").read_bytes()

    assert run("install", "acme/cat") == 0
    assert run("install", "Acme/CAT") == 0

    assert (here / "modpm.toml").read_bytes() == before
    assert locked(here) == {"acme/cat": "1.0.0 of internal"}
    assert run("install", "acme/cat>=1") == 0  # what is given with versions is written as given
    assert toml_of(here)["requirements"] == ["acme/cat>=1"]
    assert run("install", "acme/*") == 0
    assert toml_of(here)["requirements"] == ["acme/cat>=1", "acme/*"]


@pytest.mark.parametrize("folder", ["internal", "deep/er/modules"])
def test_a_registry_named_by_a_relative_path_stays_relative_to_the_project(
    here: Path, put: Put, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / folder, "acme/cat")
    monkeypatch.chdir(tmp_path)

    assert run("install", "acme/cat", "--registry", folder, "--project", "project") == 0

    assert toml_of(here)["registries"][0]["url"] == f"../{folder}"
    lock = tomllib.loads((here / "modpm.lock").read_text())
    assert lock["modules"][0]["registry"]["url"] == f"../{folder}"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (here, tmp_path / Path(folder).parts[0]):
        path.rename(moved / path.name)  # the whole checkout is somewhere else now
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "another"))
    shutil.rmtree(moved / "project" / ".modpm")
    assert run("sync", "--project", moved / "project") == 0
