from __future__ import annotations

from pathlib import Path

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.addresses import Address, given_address, publish_target
from modpm.registry.projects.project import Project, Wishes
from modpm.registry.projects.sources import Sources


def test_a_registry_in_the_project_is_addressed_relative_to_it(project: Path) -> None:
    address = given_address(project / "shared" / "registry", project)

    assert address == Address("registry", "shared/registry")
    assert address.location(project) == str(project / "shared" / "registry")


def test_a_path_that_is_given_whole_stays_whole_outside_of_the_project(
    project: Path, registry: Path
) -> None:
    assert given_address(registry, project) == Address("registry", str(registry))


def test_a_path_that_is_given_relative_stays_relative_to_the_project(
    project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent)

    assert given_address("registry", project) == Address("registry", "../registry")
    assert Address("registry", "../registry").location(project) == str(registry)


def test_a_relative_path_is_meant_from_here(
    project: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)

    assert given_address("../registry", project).location(project) == str(registry)


def test_a_file_url_is_a_folder(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my modules"

    assert given_address(folder.as_uri(), project).location(project) == str(folder)
    assert Address("a", folder.as_uri()).location(project) == str(folder)


def test_a_registry_of_the_project_keeps_its_name(project: Path, registry: Path) -> None:
    listed = Address("work", "../registry")

    assert given_address(registry, project, [listed]) == listed


def test_two_registries_never_have_one_name(project: Path, tmp_path: Path) -> None:
    listed = Address("registry", "elsewhere/registry")

    assert given_address(tmp_path / "registry", project, [listed]).name == "registry-2"
    assert given_address("/", project).name == "registry"


def usable(project: Path, *listed: Address, given: Path | None = None) -> tuple[Address, ...]:
    return Sources.of(Project(project), Wishes(registries=listed), given).usable


def test_registries_are_looked_in_in_the_order_of_the_help(
    project: Path, monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    given, listed = Address("given", "given"), Address("listed", "l")

    assert usable(project, listed, given=project / "given") == (given, listed)
    assert usable(project, listed) == (listed,)
    assert usable(project) == (Address("default", str(home / "registry")),)
    monkeypatch.setenv("MODPM_REGISTRY", str(project / "e"))
    assert usable(project) == (Address("e", "e"),)
    assert usable(project, listed) == (listed,)  # the variable is for projects that name none
    assert usable(project, given=project / "given") == (given,)
    settings = tmp_path / "config" / "config.toml"
    settings.parent.mkdir()
    settings.write_text('[[registries]]\nname = "listed"\nurl = "../mine"\n')
    monkeypatch.setenv("MODPM_CONFIG", str(settings))
    mine = Address("listed-2", str(tmp_path / "mine"))
    assert usable(project, listed, given=project / "given") == (given, listed, mine)
    assert usable(project) == (Address("e", "e"), Address("listed", str(tmp_path / "mine")))


def test_publishing_goes_to_the_given_registry_or_the_environments_or_the_default(
    registry: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert publish_target(None).location == str(home / "registry")
    monkeypatch.setenv("MODPM_REGISTRY", str(tmp_path / "e"))
    assert publish_target(None).location == str(tmp_path / "e")
    assert publish_target(registry).location == str(registry)


def test_without_a_home_the_platform_says_where_data_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODPM_HOME")

    location = Path(publish_target(None).location)

    assert location.is_absolute()
    assert location.parent.name == "modpm"


@pytest.mark.parametrize("url", ["ftp://host/x", "https://", "file://host/x"])
def test_an_unknown_kind_of_registry_is_refused(url: str) -> None:
    with pytest.raises(ModpmError) as caught:
        publish_target(url)
    assert caught.value.code == "unknown-registry-kind"
