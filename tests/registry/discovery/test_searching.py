from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.discovery.searching import search
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution, Put


@pytest.fixture
def two(put: Put, registry: Path, tmp_path: Path, project: Path) -> Path:
    """A project with two registries that share a namespace."""
    public = tmp_path / "public"
    put("digits/cat", "1.0.0", recall=0.5)
    put("digits/cat", "1.1.0", recall=0.75)
    put("digits/cat", "2.0.0rc1", recall=0.125)
    put("mnist/7", recall=0.95)
    put("digits/cat", "9.0.0", to=public)
    put("digits/dog", "9.0.0", to=public)
    put("pets/dog", "9.0.0", to=public)
    (project / "modpm.toml").write_text(
        f'[[registries]]\nname = "own"\nurl = "{registry}"\n'
        f'[[registries]]\nname = "public"\nurl = "{public}"\n'
    )
    return project


def found(project: Path, text: str = "", **wishes: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - whatever search takes
    return [(str(one.name), one.version) for one in search(text, project, **wishes)]


def test_every_module_is_found_in_the_registry_that_owns_its_namespace(two: Path) -> None:
    assert found(two) == [("digits/cat", "1.1.0"), ("mnist/7", "1.0.0"), ("pets/dog", "9.0.0")]


def test_a_module_of_a_later_registry_is_not_found_where_an_earlier_one_has_the_namespace(
    two: Path, tmp_path: Path
) -> None:
    # Only the modules of the second registry have this summary.
    assert found(two, "public") == [("pets/dog", "9.0.0")]
    assert found(two, "public", registry=tmp_path / "public") == [
        ("digits/cat", "9.0.0"),
        ("digits/dog", "9.0.0"),
        ("pets/dog", "9.0.0"),
    ]


def test_a_namespace_is_searched_where_the_project_says_that_it_belongs(two: Path) -> None:
    with (two / "modpm.toml").open("a") as file:
        file.write('[namespaces]\ndigits = "public"\n')

    assert found(two, namespace="digits") == [("digits/cat", "9.0.0"), ("digits/dog", "9.0.0")]
    assert ("mnist/7", "1.0.0") in found(two)


@pytest.mark.parametrize(
    ("wishes", "names"),
    [
        ({"text": "CAT"}, ["digits/cat"]),
        ({"text": "digits cat"}, ["digits/cat"]),
        ({"namespace": "MNIST"}, ["mnist/7"]),
        ({"label": "7"}, ["digits/cat", "mnist/7", "pets/dog"]),  # all were cut for this class
        ({"label": "8"}, []),
        ({"min_recall": 0.8}, ["mnist/7", "pets/dog"]),
        ({"min_recall": 0.75}, ["digits/cat", "mnist/7", "pets/dog"]),
        ({"max_size_bytes": 100}, []),
        ({"text": "cat", "min_recall": 0.8}, []),
    ],
)
def test_all_wishes_must_be_met(two: Path, wishes: dict[str, Any], names: list[str]) -> None:
    assert [name for name, _ in found(two, **wishes)] == names


def test_a_size_is_that_of_all_files(two: Path) -> None:
    sizes = {str(one.name): one.size_bytes for one in search("", two)}

    assert [str(one.name) for one in search("", two, max_size_bytes=sizes["mnist/7"])] == [
        name for name in sizes if sizes[name] <= sizes["mnist/7"]
    ]


def test_a_module_is_found_by_the_release_that_is_shown(
    make_distribution: MakeDistribution, registry: Path, project: Path
) -> None:
    for version, summary in (("1.0.0", "tabby"), ("2.0.0rc1", "siamese")):
        publish([make_distribution("digits/cat", version, summary=summary).folder], registry)

    assert [one.version for one in search("tabby", project, registry)] == ["1.0.0"]
    assert search("siamese", project, registry) == []


def test_a_name_that_is_none_is_refused(two: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        search("", two, namespace="no name")
    assert caught.value.code == "invalid-name"
