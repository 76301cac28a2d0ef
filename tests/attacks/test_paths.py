"""Paths and names that other systems, or other encodings, make something else of."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from modpm.cli.main import main
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution, write_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.registry.conftest import Put

NOT_UTF_8 = os.fsdecode(b"caf\xe9")
MAY_NOT_WRITE_ANYWHERE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
"""What takes from root the rights that nobody else has."""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Folders:
    """A folder with a registry of `digits/7` in it, that everybody may read."""

    def __init__(self, base: Path, vectors: Path) -> None:
        self.base = base
        self.registry = base / "registry"
        self.distribution = vectors / "distribution" / "digits-7"
        self.project = self.folder("project")
        assert self.run("publish", self.distribution, "--registry", self.registry).code == 0

    def folder(self, name: str) -> Path:
        made = self.base / name
        made.mkdir()
        return made

    def run(
        self,
        *arguments: str | Path,
        at: Path | None = None,
        before: Sequence[str] = (),
        variables: Mapping[str, str | Path] | None = None,
    ) -> Outcome:
        """Run `modpm` in a process of its own, as a user would."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MODPM_")
        }
        environment |= {"HOME": str(self.base), "MODPM_HOME": str(self.base / "home")}
        environment |= {name: str(value) for name, value in (variables or {}).items()}
        done = subprocess.run(
            [*before, sys.executable, "-m", "modpm.cli", *map(str, arguments)],
            cwd=at or self.project,
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        err = done.stderr.decode(errors="replace")
        assert "Traceback" not in err, err
        return Outcome(done.returncode, done.stdout.decode(errors="replace"), err)


@pytest.fixture
def folders(repository: Path) -> Iterator[Folders]:
    """Return folders outside of pytest's, which nobody else may enter."""
    with tempfile.TemporaryDirectory(prefix="modpm-paths-") as base:
        Path(base).chmod(0o755)
        yield Folders(Path(base), repository / "specs" / "vectors")


@pytest.mark.parametrize(
    "text", ["con/cat", "digits/nul", "Digits/COM1", "aux/x", "digits/lpt9", "prn/7", "com0/7"]
)
def test_what_is_a_device_on_windows_is_no_name_of_a_module(text: str) -> None:
    with pytest.raises(ModpmError, match="is not a module name") as refused:
        ModuleName.parse(text)
    assert "device on Windows" in str(refused.value.why)


def test_a_distribution_of_a_name_that_is_reserved_is_not_published(folders: Folders) -> None:
    golden = read_distribution(folders.distribution)
    files = {name: (golden.folder / name).read_bytes() for name in golden.manifest.files}
    manifest = msgspec.structs.replace(golden.manifest, name="digits/aux")
    with pytest.raises(ModpmError) as refused:
        write_distribution(folders.base / "dist", manifest, files)
    assert refused.value.code == "invalid-manifest"


@pytest.mark.parametrize("way", ["--registry", "MODPM_REGISTRY", "MODPM_HOME"])
def test_a_registry_whose_path_is_not_utf_8_gets_an_error_and_no_traceback(
    folders: Folders, way: str
) -> None:
    other = folders.base / NOT_UTF_8
    registry = other / "registry"
    assert folders.run("publish", folders.distribution, "--registry", registry).code == 0
    (folders.project / "modpm.toml").write_text('requirements = ["digits/7"]\n')
    before = sorted(folders.project.rglob("*"))
    options: list[str | Path] = ["--registry", registry] if way == "--registry" else []
    named = {"MODPM_REGISTRY": registry, "MODPM_HOME": other}
    variables = {name: path for name, path in named.items() if name == way}
    for verb in (
        ["install", "digits/7"],
        ["install", "digits/7", "--dry-run"],
        ["lock"],
        ["update"],
        ["search", "7"],
        ["info", "digits/7"],
    ):
        outcome = folders.run(*verb, *options, variables=variables)
        is_refused = "error: the path of a registry is not UTF-8" in outcome.err
        assert is_refused or (outcome.code == 0 and verb[0] in {"search", "info"}), verb
        assert "caf\\udce9" in outcome.err + outcome.out
    assert sorted(folders.project.rglob("*")) == before


def test_every_verb_works_in_a_project_whose_path_is_not_utf_8(folders: Folders) -> None:
    project = folders.folder(NOT_UTF_8)
    verbs = (
        ["init"],
        ["install", "digits/7", "--registry", "../registry"],
        ["list"],
        ["list", "--json"],
        ["verify"],
        ["tree"],
        ["outdated"],
        ["sync"],
        ["lock"],
        ["update"],
        ["info", "digits/7"],
        ["info", "digits/7", "--json"],
        ["remove", "digits/7"],
    )
    for verb in verbs:
        assert folders.run(*verb, at=project).code == 0, verb


def test_a_store_whose_path_is_not_utf_8_serves_other_registries(folders: Folders) -> None:
    home = folders.base / NOT_UTF_8
    for verb in (
        ["install", "digits/7", "--registry", "../registry"],
        ["sync"],
        ["cache", "size"],
        ["cache", "verify"],
        ["cache", "prune"],
    ):
        assert folders.run(*verb, variables={"MODPM_HOME": home}).code == 0, verb


@pytest.mark.parametrize(
    "path",
    ["n" * 300, "/d" * 2500, "file/below", "loop/below"],
    ids=["name", "path", "file", "loop"],
)
def test_a_path_that_leads_nowhere_gets_an_error_and_no_traceback(
    tmp_path: Path,
    path: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for verb in ("sync", "list", "verify", "tree", "lock", "outdated", "update"):
        assert main([verb, "--project", path]) == 1
    for verbs in (["install", "digits/7"], ["search", "7"], ["info", "digits/7"]):
        assert main([*verbs, "--registry", path]) == 1
    monkeypatch.setenv("MODPM_HOME", path)
    assert main(["trust", "list"]) == 1
    assert capsys.readouterr().err.count("error: ") == 11


def test_the_folder_of_the_user_is_understood_in_variables(folders: Folders) -> None:
    asked = folders.run(
        "install", "digits/7", variables={"MODPM_HOME": "~/mine", "MODPM_REGISTRY": "~/registry"}
    )
    assert asked.code == 0, asked.err
    assert (folders.base / "mine" / "blobs").is_dir()
    assert not (folders.project / "~").exists()
    config = folders.base / "config.toml"
    config.write_text('registries = [{ name = "mine", url = "~/registry" }]\n')
    other = folders.folder("other")
    configured = folders.run(
        "install", "digits/7", at=other, variables={"MODPM_CONFIG": "~/config.toml"}
    )
    assert configured.code == 0, configured.err


def test_a_project_file_that_is_a_link_is_edited_where_it_leads(folders: Folders) -> None:
    shared = folders.base / "shared.toml"
    shared.write_text("requirements = []\n")
    link = folders.project / "modpm.toml"
    link.symlink_to(shared)
    assert folders.run("install", "digits/7", "--registry", folders.registry).code == 0
    assert link.is_symlink()
    assert "digits/7" in shared.read_text()


def test_a_lockfile_that_is_a_link_is_replaced_and_what_it_leads_to_stays(folders: Folders) -> None:
    assert folders.run("install", "digits/7", "--registry", folders.registry).code == 0
    lock, other = folders.project / "modpm.lock", folders.base / "precious.lock"
    other.write_bytes(lock.read_bytes())
    lock.unlink()
    lock.symlink_to(other)
    before = other.read_bytes()
    assert folders.run("remove", "digits/7").code == 0
    assert not lock.is_symlink()
    assert lock.read_bytes() != before == other.read_bytes()


@pytest.mark.parametrize("file", ["modpm.toml", "modpm.lock"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_file_where_a_project_has_one_is_refused_at_once(
    folders: Folders, file: str, kind: str
) -> None:
    assert folders.run("install", "digits/7", "--registry", folders.registry).code == 0
    path = folders.project / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    for verb in (["sync"], ["install"], ["lock"], ["update"], ["remove", "digits/7"]):
        refused = folders.run(*verb)
        assert refused.code == 1, verb
        assert f"`{file}` cannot be read" in refused.err


@pytest.mark.parametrize("answer", ["EROFS", "EPERM", "EACCES"])
def test_there_is_nothing_to_do_on_a_file_system_that_is_only_read(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    put("digits/7")
    project = tmp_path / "project"
    project.mkdir()
    installation = install(["digits/7"], project, tmp_path / "registry")
    for path in installation.modules[0].path.iterdir():
        os.utime(path)  # as a checkout or a copy has it

    def refuse(path: str, **_times: object) -> None:
        raise OSError(getattr(errno, answer), "nothing may be written", path)

    monkeypatch.setattr(os, "utime", refuse)
    synced = sync(project)
    assert (synced.changes, synced.mended) == ((), ())
    assert len(verify(project)) == 1


def test_a_checkout_that_may_only_be_read_is_verified_and_listed(folders: Folders) -> None:
    assert folders.run("install", "digits/7", "--registry", folders.registry).code == 0
    inside = [folders.base, *(path for path in folders.base.rglob("*") if path.is_dir())]
    for folder in inside:
        folder.chmod(0o555)
    before = sorted(folders.base.rglob("*"))
    states = [path.lstat() for path in before]
    as_others = MAY_NOT_WRITE_ANYWHERE if os.geteuid() == 0 else ()
    assert folders.run("remove", "digits/7", before=as_others).code == 1  # it is read-only
    verbs = (["verify"], ["list"], ["tree"], ["info", "digits/7"], ["outdated"], ["sync"])
    try:
        shown = [folders.run(*verb, before=as_others) for verb in verbs]
        assert sorted(folders.base.rglob("*")) == before
        assert [path.lstat().st_mtime_ns for path in before] == [s.st_mtime_ns for s in states]
    finally:
        for folder in inside:
            folder.chmod(0o755)
    assert [one.code for one in shown] == [0] * len(verbs), [one.err for one in shown]
