from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats import requirements
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement, parse_version

NAMES = st.sampled_from(["cifar10/cat", "cifar10/*", "Mnist/7", "a.b/c_d"])
VERSIONS = st.sampled_from(
    ["", ">=1.2,<2", "==1.0", "~=1.4", "!=1.1", " >= 1.0", "==1.*", "@stable"]
)


@given(NAMES, VERSIONS)
def test_parse_and_str_are_inverse(name: str, versions: str) -> None:
    requirement = Requirement.parse(name + versions)

    assert Requirement.parse(str(requirement)) == requirement


def test_a_requirement_names_its_module_and_versions() -> None:
    requirement = Requirement.parse("CIFAR10/Cat >=1.2, <2")

    assert requirement.module == ModuleName("cifar10", "cat")
    assert requirement.admits("1.9")
    assert requirement.admits("1.3rc1")
    assert not requirement.admits("2.0")


def test_a_star_asks_for_the_whole_namespace() -> None:
    requirement = Requirement.parse("cifar10/*<2")

    assert requirement.module is None
    assert str(requirement.of(ModuleName("cifar10", "dog"))) == "cifar10/dog<2"
    assert requirement.is_on(ModuleName("cifar10", "dog"))
    assert not requirement.is_on(ModuleName("mnist", "dog"))
    assert not Requirement.parse("cifar10/cat").is_on(ModuleName("cifar10", "dog"))


def test_a_tag_is_not_a_version() -> None:
    assert Requirement.parse("cifar10/cat@stable").tag == "stable"
    with pytest.raises(ModpmError, match=r"is asked by `==1\.0`"):
        Requirement.parse("cifar10/cat@1.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat",
        "*",
        "*/cat",
        "cifar10/c*",
        "cifar10/cat>=",
        "cifar10/cat>>1",
        "cifar10/cat 1.0",
        "cifar10/cat@",
        "cifar10/cat@a b",
        "cifar10/cat>=1@stable",
        "cifar10/cat>=1; python_version>'3'",
        "cifar10/cat>=" + "1" * 2000,
    ],
)
def test_what_is_not_a_requirement_is_refused(text: str) -> None:
    with pytest.raises(ModpmError) as caught:
        Requirement.parse(text)

    assert caught.value.code in {"invalid-name", "invalid-requirement"}
    assert caught.value.exit_code == 2


@given(st.text())
def test_any_text_is_a_requirement_or_refused(text: str) -> None:
    try:
        Requirement.parse(f"cifar10/cat{text}")
    except ModpmError as error:
        assert error.hint  # noqa: PT017 - either outcome is right, each in its form


def test_a_version_is_read_or_refused() -> None:
    assert parse_version("1.0rc1") == Version("1.0rc1")
    with pytest.raises(ModpmError, match="not a version"):
        parse_version("one", where="index.json")
    with pytest.raises(ModpmError, match="not a version"):
        parse_version("1" * 5000)


@given(st.from_regex(requirements._PLAIN, fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_what_is_taken_as_versions_unread_is_what_reading_gives(text: str) -> None:
    assert str(SpecifierSet(text)) == text
    assert Requirement.parse(f"digits/cat{text}").specifiers == SpecifierSet(text)


@given(
    st.tuples(st.integers(0, 3), st.integers(0, 12)),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.sampled_from(["", "rc1", ".post1", ".dev1", "+local"]),
)
def test_the_bound_that_installing_writes_admits_what_reading_it_does(
    bound: tuple[int, int], release: list[int], suffix: str
) -> None:
    versions = f"~={bound[0]}.{bound[1]}"
    version = ".".join(map(str, release)) + suffix

    assert Requirement.parse(f"digits/cat{versions}").admits(version) == SpecifierSet(
        versions
    ).contains(version, prereleases=True)
