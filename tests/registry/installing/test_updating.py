"""Moving modules, removing them, and what keeps them where they are."""

from __future__ import annotations

import json
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
from tests.registry.outcomes import present, refused

from modpm.registry.installing.installation import install, remove, sync, update
from modpm.registry.permissions import ROLLBACKS
from modpm.registry.pins.locking import lock
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put


@pytest.fixture
def zoo(put: Put, project: Path, registry: Path) -> Path:
    """A project with two modules of a namespace, and one of another, all behind the newest."""
    for name in ("digits/cat", "digits/dog", "mnist/7"):
        put(name)
    install(["digits/*", "mnist/7<2"], project, registry)
    for name in ("digits/cat", "digits/dog", "mnist/7"):
        put(name, "1.1.0")
    put("mnist/7", "2.0.0")
    put("digits/bird")
    return project


def test_update_moves_everything_as_far_as_it_may(zoo: Path) -> None:
    update((), zoo)

    assert present(zoo) == {
        "digits/bird": "1.0.0",
        "digits/cat": "1.1.0",
        "digits/dog": "1.1.0",
        "mnist/7": "1.1.0",
    }


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (["mnist/7"], {"mnist/7": "1.1.0"}),
        (["Digits/Cat", "mnist/7"], {"digits/cat": "1.1.0", "mnist/7": "1.1.0"}),
        (["digits/*"], {"digits/bird": "1.0.0", "digits/cat": "1.1.0", "digits/dog": "1.1.0"}),
    ],
)
def test_update_of_some_keeps_the_others(
    zoo: Path, names: list[str], moved: dict[str, str]
) -> None:
    before = present(zoo)

    update(names, zoo)

    assert present(zoo) == {**before, **moved}


def test_update_leaves_the_project_file_alone(zoo: Path) -> None:
    before = (zoo / "modpm.toml").read_bytes()

    update((), zoo)

    assert (zoo / "modpm.toml").read_bytes() == before


def test_update_moves_away_from_a_yanked_release_and_install_keeps_it(
    zoo: Path, registry: Path
) -> None:
    path = registry / "mnist" / "7" / "index.json"
    index = json.loads(path.read_bytes())
    index["releases"][0]["yanked"] = "wrong labels"
    path.chmod(0o644)
    path.write_text(json.dumps(index))

    kept = install(["digits/bird"], zoo)
    assert {str(name): reason for name, reason in kept.yanked.items()} == {
        "mnist/7": "wrong labels"
    }
    assert present(zoo)["mnist/7"] == "1.0.0"
    assert {str(name) for name in lock(zoo).yanked} == {"mnist/7"}
    update(["mnist/7"], zoo)
    assert present(zoo)["mnist/7"] == "1.1.0"


def test_a_yanked_release_is_installed_from_a_lock_and_the_reason_told(
    zoo: Path, registry: Path, home: Path
) -> None:
    path = registry / "mnist" / "7" / "index.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"yanked":null', b'"yanked":"wrong labels"'))
    shutil.rmtree(home)
    shutil.rmtree(zoo / ".modpm")

    outcome = sync(zoo)

    assert [(str(n), reason) for n, reason in outcome.yanked.items()] == [
        ("mnist/7", "wrong labels")
    ]
    assert present(zoo)["mnist/7"] == "1.0.0"
    assert sync(zoo).yanked == outcome.yanked  # no registry is asked any more, but it is known


def test_what_is_not_locked_cannot_be_updated(zoo: Path) -> None:
    error = refused(lambda: update(["mnist/77"], zoo))

    assert error.code == "not-locked"
    assert "did you mean `mnist/7`?" in str(error.hint)
    assert refused(lambda: update(["pets/*"], zoo)).code == "not-locked"
    assert refused(lambda: update(["mnist/7>=2"], zoo)).code == "invalid-requirement"


def test_remove_takes_out_what_only_the_removed_required(
    put: Put, project: Path, registry: Path
) -> None:
    for name in ("digits/cat", "digits/dog", "digits/bird"):
        put(name)
    put("digits/pets", requires=["digits/cat", "digits/dog"])
    put("digits/birds", requires=["digits/bird", "digits/dog"])
    install(["digits/pets", "digits/birds"], project, registry)
    shutil.rmtree(registry)

    changes = remove(["digits/pets"], project).changes

    assert [(str(c.name), c.after) for c in changes] == [
        ("digits/cat", None),
        ("digits/pets", None),
    ]
    assert sorted(present(project)) == ["digits/bird", "digits/birds", "digits/dog"]
    toml = tomllib.loads((project / "modpm.toml").read_text())
    assert toml["requirements"] == ["digits/birds~=1.0"]
    assert sync(project).changes == ()


def test_what_is_only_required_cannot_be_removed_and_who_requires_it_is_told(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("digits/pets", requires=["digits/cat<2"])
    put("mnist/7")
    install(["digits/pets", "mnist/*"], project, registry)

    error = refused(lambda: remove(["digits/cat"], project))
    assert error.code == "not-asked"
    assert error.why == "`digits/pets` requires `digits/cat<2`"
    assert refused(lambda: remove(["mnist/7"], project)).why == "it asks for `mnist/*`"
    assert refused(lambda: remove(["digits/pet"], project)).hint == "did you mean `digits/pets`?"
    remove(["mnist/*"], project)
    assert sorted(present(project)) == ["digits/cat", "digits/pets"]


def test_a_module_whose_registry_is_gone_from_the_project_is_not_moved(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    put("digits/cat")
    put("digits/cat", "3.0.0", to=other)
    put("digits/dog", to=other)
    install(["digits/cat"], project, registry)
    toml = project / "modpm.toml"
    toml.write_text(f'requirements = ["digits/cat"]\nregistries = [{{name="o", url="{other}"}}]')

    for command in (
        lambda: update((), project),
        lambda: lock(project),
        lambda: install(["digits/dog"], project),
    ):
        error = refused(command)
        assert error.code == "other-registry"
        assert str(registry) in str(error.why)
        assert "--move-namespace digits" in str(error.hint)
    assert present(project) == {"digits/cat": "1.0.0"}
    install(["digits/cat>1"], project, other, move_namespace=["digits"])
    assert present(project) == {"digits/cat": "3.0.0"}


def test_a_module_that_its_registry_lists_no_more_is_not_taken_from_another(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    put("digits/cat")
    put("digits/dog")
    put("digits/cat", "3.0.0", to=other)
    install(["digits/cat"], project, [registry, other])
    shutil.rmtree(registry / "digits" / "cat")

    assert refused(lambda: update((), project)).code == "rolled-back"
    with ROLLBACKS.given():
        error = refused(lambda: update((), project))

    assert error.code == "unknown-module"
    assert f"`other` ({other}) does, and is not taken instead" in str(error.why)


def test_a_registry_that_moves_stays_the_same_while_it_keeps_its_name(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    registry.rename(tmp_path / "moved")
    toml = project / "modpm.toml"
    toml.write_text(toml.read_text().replace(str(registry), str(tmp_path / "moved")))

    lock(project)

    locked = Project(project).lock()
    assert locked is not None
    assert locked.pins[0].registry.url == str(tmp_path / "moved")


def test_a_release_that_changed_is_refused_by_those_who_ask_and_kept_by_those_who_do_not(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    put("digits/cat")
    install(["digits/cat"], project, registry)
    shutil.rmtree(registry)
    put("digits/cat", to=tmp_path / "registry")

    for command in (lambda: lock(project), lambda: update((), project)):
        assert refused(command).code == "release-changed"
    shutil.rmtree(project / ".modpm")
    assert [c.after for c in sync(project).changes] == ["1.0.0"]
    assert [c.after for c in install((), project).changes] == []


def test_several_registries_are_added_in_their_order(
    put: Put, project: Path, registry: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "registry"
    put("digits/cat", "1.0.0")
    put("digits/cat", "9.0.0", to=other)
    put("mnist/7", "9.0.0", to=other)

    install(["digits/*", "mnist/*"], project, [registry, other])

    assert present(project) == {"digits/cat": "1.0.0", "mnist/7": "9.0.0"}
    listed = tomllib.loads((project / "modpm.toml").read_text())["registries"]
    assert listed == [
        {"name": "registry", "url": str(registry)},
        {"name": "registry-2", "url": str(other)},
    ]


def test_same_origin_is_kept_until_it_is_taken_back(
    put: Put, project: Path, registry: Path
) -> None:
    put("digits/cat")
    put("digits/dog")

    install(["digits/cat", "digits/dog"], project, registry, same_origin=True)

    assert tomllib.loads((project / "modpm.toml").read_text())["same-origin"] is True
    assert "same_origin = true" in (project / "modpm.lock").read_text()
    assert sync(project).changes == ()
    lock(project, same_origin=False)
    assert "same-origin" not in (project / "modpm.toml").read_text()
    assert "same_origin = true" not in (project / "modpm.lock").read_text()
