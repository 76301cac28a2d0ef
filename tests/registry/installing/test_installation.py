from __future__ import annotations

import json
import os
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
from tests.registry.outcomes import present

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.distribution import verify_distribution
from modpm.registry.installing import fetching
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.installation import install, sync
from modpm.registry.installing.installed import find, installed
from modpm.registry.permissions import ROLLBACKS
from modpm.registry.projects.lockfile import Change
from modpm.registry.projects.project import Project
from modpm.registry.storage import store as store_module
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put

    from modpm.registry.installing.installation import Installation
    from modpm.registry.projects.lockfile import Pin


def pins(project: Path) -> dict[str, str]:
    lock = Project(project).lock()
    assert lock is not None
    return {str(pin.module): pin.version for pin in lock.pins}


def refused(project: Path, *requirements: str, registry: Path | None = None) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        install(requirements, project, registry)
    return caught.value


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_newest_release_is_installed_and_pinned(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    digest = put("digits/cat", "1.2.0")

    result = install(["digits/cat"], project, registry)

    (module,) = result.modules
    assert (str(module.name), module.version, module.digest) == ("digits/cat", "1.2.0", digest)
    assert module.registry == str(registry)
    assert module.size_bytes == sum(len(content) for content in tree(module.path).values())
    assert verify_distribution(module.path).digest == digest
    assert find("digits/cat", project) == module.path
    assert find("Digits/CAT", project) == module.path
    assert pins(project) == present(project) == {"digits/cat": "1.2.0"}
    assert tomllib.loads((project / "modpm.toml").read_text()) == {
        "requirements": ["digits/cat~=1.2"],
        "registries": [{"name": "registry", "url": str(registry)}],
        "namespaces": {"digits": "registry"},
    }


def test_modules_are_added_to_those_that_are_installed(
    put: Put, project: Path, registry: Path
) -> None:
    for name in ("digits/cat", "digits/dog", "mnist/7"):
        put(name)

    install(["digits/*"], project, registry)
    result = install(["mnist/7"], project)

    assert [str(module.name) for module in result.modules] == [
        "digits/cat",
        "digits/dog",
        "mnist/7",
    ]
    assert [(str(c.name), c.before, c.after) for c in result.changes] == [
        ("mnist/7", None, "1.0.0")
    ]


def test_one_requirement_may_be_given_alone(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")

    assert len(install("digits/cat", project, registry).modules) == 1


def test_pins_stay_while_they_satisfy_what_is_asked(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    put("digits/cat", "1.1.0")
    put("digits/dog")

    install(["digits/dog"], project)
    assert pins(project) == {"digits/cat": "1.0.0", "digits/dog": "1.0.0"}
    install(["digits/cat"], project)
    assert pins(project)["digits/cat"] == "1.0.0"
    changes = install(["digits/cat>1.0"], project).changes
    assert [(c.before, c.after) for c in changes] == [("1.0.0", "1.1.0")]
    assert pins(project)["digits/cat"] == present(project)["digits/cat"] == "1.1.0"
    assert len(list((project / ".modpm" / "modules" / "digits" / "cat").iterdir())) == 1


def test_a_namespace_means_the_modules_it_had_until_it_is_asked_for_again(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("mnist/7")
    install(["digits/*"], project, registry)
    put("digits/dog")

    install(["mnist/7"], project)
    assert sorted(pins(project)) == ["digits/cat", "mnist/7"]
    install(["digits/*"], project)
    assert sorted(pins(project)) == ["digits/cat", "digits/dog", "mnist/7"]


def test_what_a_module_requires_is_installed_and_leaves_with_it(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("digits/pets", "1.0.0", requires=["digits/cat"])
    put("digits/pets", "2.0.0")

    install(["digits/pets<2"], project, registry)
    assert sorted(present(project)) == ["digits/cat", "digits/pets"]
    changes = install(["digits/pets>=2"], project).changes
    assert sorted(present(project)) == ["digits/pets"]
    assert Change(changes[0].name, "1.0.0", None) == changes[0]
    assert not (project / ".modpm" / "modules" / "digits" / "cat").exists()


def test_without_requirements_the_lockfile_is_installed(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    put("digits/cat", "1.1.0")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("modpm.toml", "modpm.lock"):
        shutil.copy(project / name, clone / name)

    install((), clone)

    assert tree(clone) == tree(project)


def test_a_lockfile_gives_the_same_project_in_every_home(
    put: Put, project: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat")
    put("digits/dog")
    install(["digits/dog", "digits/cat"], project, registry)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "another home"))
    another = tmp_path / "another"
    another.mkdir()

    install(["digits/cat"], another, registry)
    install(["digits/dog"], another)

    assert (another / "modpm.lock").read_bytes() == (project / "modpm.lock").read_bytes()
    assert tree(another / ".modpm") == tree(project / ".modpm")


def whole_state(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Return the mode of everything in a folder, and the bytes of its files."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else None,
        )
        for path in (folder, *folder.rglob("*"))
    }


def test_a_lockfile_gives_the_same_folder_whether_files_are_linked_or_copied(
    put: Put, project: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat")
    put("digits/dog", "2.0.0")
    put("digits/pets", requires=["digits/cat", "digits/dog"])
    install(["digits/pets"], project, registry)
    put("digits/dog", "3.0.0")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("modpm.toml", "modpm.lock"):
        shutil.copy(project / name, clone / name)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "another home"))
    # As if the store were on another file system than the project.
    monkeypatch.setattr(store_module, "_hard_link", lambda _source, _target: False)
    monkeypatch.setattr(store_module, "_reflink", lambda _source, _target: False)

    sync(clone)

    assert whole_state(clone / ".modpm") == whole_state(project / ".modpm")
    links = {path.stat().st_nlink for path in (clone / ".modpm").rglob("*") if path.is_file()}
    assert links == {1}


def test_requirements_that_people_write_are_installed(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("digits/dog")
    install(["digits/cat"], project, registry)
    path = project / "modpm.toml"
    path.write_text(path.read_text().replace('"digits/cat~=1.0"', '"digits/dog"  # a dog person'))

    install((), project)

    assert present(project) == {"digits/dog": "1.0.0"}
    assert "# a dog person" in path.read_text()


def test_installing_again_writes_nothing(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}

    for requirements in ((), ["digits/cat"]):
        assert install(requirements, project).changes == ()

    after = {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}
    assert after == before


def test_what_is_in_the_store_is_installed_without_the_registry(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    shutil.rmtree(project / ".modpm")
    shutil.rmtree(registry)

    install((), project)

    assert present(project) == {"digits/cat": "1.0.0"}


def test_another_registry_may_help_out_with_the_same_bytes(
    put: Put, project: Path, registry: Path, tmp_path: Path, home: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    shutil.rmtree(project / ".modpm")
    shutil.rmtree(home)
    registry.rename(tmp_path / "moved")
    assert refused(project).code == "registry-missing"

    install((), project, tmp_path / "moved")

    assert present(project) == {"digits/cat": "1.0.0"}


def test_a_namespace_belongs_to_the_first_registry_that_has_it(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    public = tmp_path / "public"
    put("digits/cat", "1.0.0")
    put("digits/cat", "9.0.0", to=public)
    put("digits/dog", "9.0.0", to=public)
    put("mnist/7", to=public)
    (project / "modpm.toml").write_text(f"""
        requirements = ["digits/*", "mnist/7"]
        registries = [
            {{ name = "own", url = "{registry}" }},
            {{ name = "public", url = "{public}" }},
        ]
    """)

    result = install((), project)

    assert present(project) == {"digits/cat": "1.0.0", "mnist/7": "1.0.0"}
    assert [module.registry for module in result.modules] == [str(registry), str(public)]
    toml = tomllib.loads((project / "modpm.toml").read_text())
    assert toml["namespaces"] == {"digits": "own", "mnist": "public"}


def test_a_namespace_stays_with_its_registry_unless_it_is_moved(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    put("digits/cat", "1.0.0")
    put("digits/cat", "2.0.0", to=other)
    put("digits/dog", "2.0.0", to=other)
    install(["digits/cat"], project, registry)

    assert refused(project, "digits/dog", registry=other).code == "other-registry"
    assert refused(project, "digits/cat>1", registry=other).code == "other-registry"
    assert present(project) == {"digits/cat": "1.0.0"}
    install(["digits/cat>1", "digits/dog"], project, other, move_namespace="digits")
    assert present(project) == {"digits/cat": "2.0.0", "digits/dog": "2.0.0"}
    assert tomllib.loads((project / "modpm.toml").read_text())["namespaces"] == {"digits": "other"}


def test_a_release_that_changed_under_its_version_is_refused(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    put("digits/dog")
    install(["digits/cat"], project, registry)
    shutil.rmtree(registry)
    put("digits/cat", to=tmp_path / "registry")
    put("digits/dog")

    error = refused(project, "digits/dog")

    assert error.code == "release-changed"
    assert present(project) == {"digits/cat": "1.0.0"}


def test_a_registry_inside_the_project_is_locked_by_its_relative_path(
    put: Put, project: Path
) -> None:
    put("digits/cat", to=project / "modules")

    install(["digits/cat"], project, project / "modules")

    assert 'url = "modules"' in (project / "modpm.lock").read_text()
    assert 'url = "modules"' in (project / "modpm.toml").read_text()


def test_the_environments_registry_is_named_by_the_project_once_something_belongs_to_it(
    put: Put, project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat")
    monkeypatch.setenv("MODPM_REGISTRY", str(registry))

    install(["digits/cat"], project)

    toml = tomllib.loads((project / "modpm.toml").read_text())
    assert toml["registries"] == [{"name": "registry", "url": str(registry)}]
    assert toml["namespaces"] == {"digits": "registry"}
    assert str(registry) in (project / "modpm.lock").read_text()


def test_a_folder_in_the_project_installs_into_the_project(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    (project / "notebooks").mkdir()

    install(["digits/cat"], project / "notebooks")

    assert list((project / "notebooks").iterdir()) == []
    assert find("digits/cat", project / "notebooks").is_dir()


@pytest.mark.parametrize(
    ("requirement", "code", "hint"),
    [
        ("digits/catt", "unknown-module", "did you mean `digits/cat`?"),
        ("digit/*", "unknown-namespace", "did you mean `digits/*`?"),
        ("digits/cat>2", "no-version-fits", "loosen"),
        ("digits/cat@stable", "unknown-tag", "ask for versions"),
        ("cat", "invalid-name", "namespace/name"),
        ("digits/cat>>1", "invalid-requirement", "write"),
    ],
)
def test_what_cannot_be_met_is_explained_and_changes_nothing(
    put: Put, project: Path, requirement: str, code: str, hint: str
) -> None:
    put("digits/cat")

    error = refused(project, requirement, registry=project.parent / "registry")

    assert error.code == code
    assert hint in str(error.hint)
    assert list(project.iterdir()) == []


def test_nothing_to_install_is_an_error(project: Path) -> None:
    error = refused(project)

    assert (error.code, error.exit_code) == ("nothing-asked", 2)
    assert list(project.iterdir()) == []


def test_a_missing_registry_is_an_error(project: Path, registry: Path) -> None:
    assert refused(project, "digits/cat", registry=registry).code == "registry-missing"
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"), [("modpm.toml", "invalid-project"), ("modpm.lock", "invalid-lock")]
)
def test_a_damaged_file_of_the_project_is_named_and_kept(
    put: Put, project: Path, registry: Path, name: str, code: str
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    (project / name).write_bytes(b"<<<<<<< HEAD\n")

    error = refused(project, "digits/cat")

    assert error.code == code
    assert name in str(error.where)
    assert (project / name).read_bytes() == b"<<<<<<< HEAD\n"
    assert present(project) == {"digits/cat": "1.0.0"}


def test_a_damaged_record_of_what_is_installed_is_repaired(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    (project / ".modpm" / "installed.lock").write_bytes(b"<<<<")

    install((), project)

    assert present(project) == {"digits/cat": "1.0.0"}


def test_a_damaged_installation_is_repaired(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")
    (module,) = install(["digits/cat"], project, registry).modules
    path = module.path / "module.safetensors"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    (module.path / "README.md").unlink()

    install((), project)

    assert verify_distribution(module.path).digest == module.digest


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_bytes_that_are_not_those_of_the_digest_are_not_installed(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    path = registry / "digits" / "cat" / "1.0.0" / "module.safetensors"
    content = path.read_bytes()

    for wrong, code in (
        (content[:-1] + b"\x01", "wrong-digest"),
        (content[:-1], "truncated"),
        (content + b"\x00", "wrong-digest"),
    ):
        damage(path, wrong)
        assert refused(project, "digits/cat", registry=registry).code == code
        assert list(project.iterdir()) == []
    path.unlink()
    assert refused(project, "digits/cat", registry=registry).code == "missing-file"


def test_a_release_that_is_that_of_another_module_is_refused(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("digits/dog")
    cat, dog = registry / "digits" / "cat", registry / "digits" / "dog"
    index = json.loads((dog / "index.json").read_bytes())
    damage(cat / "index.json", json.dumps({**index, "name": "digits/cat"}).encode())
    shutil.copytree(dog / "1.0.0", cat / "1.0.0", dirs_exist_ok=True)

    with ROLLBACKS.given():  # or as on a machine that has never seen the release
        error = refused(project, "digits/cat", registry=registry)

    assert error.code == "wrong-module"
    assert not (project / "modpm.toml").exists()
    assert present(project) == {}


def test_an_index_that_lists_other_files_than_the_manifest_is_refused(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    folder = registry / "digits" / "cat"
    index = json.loads((folder / "index.json").read_bytes())
    card = b"another card"
    index["releases"][0]["files"]["README.md"] = {
        "size_bytes": len(card),
        "digest": digest_bytes(card),
    }
    damage(folder / "index.json", json.dumps(index).encode())
    damage(folder / "1.0.0" / "README.md", card)

    assert refused(project, "digits/cat", registry=registry).code == "wrong-size"
    assert present(project) == {}


def test_whoever_changes_the_project_meanwhile_is_not_overruled(
    put: Put, project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat")
    put("digits/dog")
    n_fetched = 0

    def fetch_while_another_installs(*arguments: object, **options: object) -> frozenset[Pin]:
        nonlocal n_fetched
        n_fetched += 1
        if n_fetched == 1:
            install(["digits/dog"], project, registry)
        return fetch(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(fetching, "fetch", fetch_while_another_installs)
    result: Installation = install(["digits/cat"], project, registry)

    assert n_fetched == 3
    assert {str(module.name) for module in result.modules} == {"digits/cat", "digits/dog"}
    assert sorted(present(project)) == ["digits/cat", "digits/dog"]


def test_what_changes_in_the_store_once_it_is_verified_is_not_installed(
    put: Put, project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/cat")

    def fetch_and_damage(*arguments: object, **options: object) -> frozenset[Pin]:
        verified = fetch(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are
        (pin,) = verified
        record = pin.files["module.safetensors"]
        path = Store.of_user().path(record.digest)
        path.chmod(0o644)
        path.write_bytes(bytes(record.size_bytes))
        return verified

    monkeypatch.setattr(fetching, "fetch", fetch_and_damage)
    assert refused(project, "digits/cat", registry=registry).code == "wrong-digest"
    assert present(project) == {}


def test_a_folder_that_goes_meanwhile_is_made_again(
    put: Put, project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog", "bird"):
        put(f"digits/{name}")
    install(["digits/cat"], project, registry)
    install(["digits/dog"], project, save=False)
    n_fetched = 0

    def fetch_while_another_syncs(*arguments: object, **options: object) -> frozenset[Pin]:
        nonlocal n_fetched
        n_fetched += 1
        if n_fetched == 1:
            assert [c.after for c in sync(project).changes] == [None]
        return fetch(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(fetching, "fetch", fetch_while_another_syncs)
    install(["digits/dog", "digits/bird"], project, save=False)

    assert {find(str(m.name), project).is_dir() for m in installed(project)} == {True}
    assert sorted(present(project)) == ["digits/bird", "digits/cat", "digits/dog"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_that_install_at_once_lose_nothing(
    put: Put, project: Path, registry: Path
) -> None:
    names = [f"digits/{i}" for i in range(4)]
    for name in names:
        put(name)
    children = []
    for name in names:
        child = os.fork()
        if child == 0:
            try:
                install([name], project, registry)
            except BaseException:  # noqa: BLE001 - whatever it is, the parent is to see it
                os._exit(1)
            os._exit(0)
        children.append(child)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert sorted(present(project)) == sorted(pins(project)) == names


def test_what_is_not_installed_is_not_found(put: Put, project: Path, registry: Path) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)

    for name, hint in (("digits/cats", "did you mean `digits/cat`?"), ("x/y", "modpm install x/y")):
        with pytest.raises(ModpmError) as caught:
            find(name, project)
        assert caught.value.code == "not-installed"
        assert hint in str(caught.value.hint)
    shutil.rmtree(project / ".modpm" / "modules")
    with pytest.raises(ModpmError, match="modpm install digits/cat"):
        find("digits/cat", project)
