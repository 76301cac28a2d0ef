from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.names import MAX_PART_LENGTH, ModuleName

EDGE = st.sampled_from(string.ascii_letters + string.digits)
INNER = st.text(string.ascii_letters + string.digits + "-_.", max_size=20)
PARTS = st.builds(lambda first, middle, last: first + middle + last, EDGE, INNER, EDGE)


@given(PARTS, PARTS)
def test_parse_and_str_are_inverse(namespace: str, name: str) -> None:
    module = ModuleName.parse(f"{namespace}/{name}")

    assert ModuleName.parse(str(module)) == module
    assert str(ModuleName.parse(str(module))) == str(module)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("CIFAR10/Cat", "cifar10/cat"),
        ("cifar100/aquarium_fish", "cifar100/aquarium-fish"),
        ("a.-_b/c--d", "a-b/c-d"),
        ("mnist/7", "mnist/7"),
    ],
)
def test_names_are_normalized_like_python_projects(text: str, normal: str) -> None:
    assert str(ModuleName.parse(text)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat",
        "/cat",
        "cifar10/",
        "a/b/c",
        "../cat",
        "cifar10/..",
        "cifar10/-cat",
        "cifar10/cat-",
        "cifar10/cat dog",
        "cifar10/kätzchen",
        "cifar10/٣",
        "cifar10/cat\n",
        "cifar10\\cat/x",
        f"cifar10/{'a' * (MAX_PART_LENGTH + 1)}",
    ],
)
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(ModpmError) as caught:
        ModuleName.parse(text)

    assert caught.value.code == "invalid-name"
    assert caught.value.exit_code == 2


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        module = ModuleName.parse(text, where="modpm.toml")
    except ModpmError as error:
        assert error.exit_code == 1  # noqa: PT017 - either outcome is right, each in its form
    else:
        assert "/" not in module.namespace + module.name
