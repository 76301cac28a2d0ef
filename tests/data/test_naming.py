"""Names of class modules."""

from __future__ import annotations

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from modpm.core.data.naming import data_set_name, default_namespace, module_names
from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("automobile", "automobile"),
        ("7", "7"),
        ("T-shirt/top", "t-shirt-top"),
        ("Ankle boot", "ankle-boot"),
        ("pick-up_truck", "pick-up-truck"),
        ("Führerschein", "fuhrerschein"),
        ("猫", "class-0"),
        ("x" * 200, "x" * 64),
        ("Con", "con-class"),
        ("COM1", "com1-class"),
    ],
)
def test_class_names_become_names_of_modules(class_name: str, name: str) -> None:
    assert str(module_names("Some_Data", [class_name])[0]) == f"some-data/{name}"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_whatever_classes_are_called_their_modules_have_valid_distinct_names(
    classes: list[str],
) -> None:
    try:
        names = module_names("data", classes)
    except ModpmError:
        reject()  # that two names become one is refused; it is the next test's
    assert [ModuleName.parse(str(name)) for name in names] == names
    assert len(set(names)) == len(classes)


def test_classes_that_would_have_one_name_are_refused_by_name() -> None:
    with pytest.raises(ModpmError) as refusal:
        module_names("languages", ["C", "Python", "C++"])
    assert refusal.value.code == "same-name"
    assert refusal.value.why == "`C`, `C++`"


@pytest.mark.parametrize(
    ("data", "namespace", "shown"),
    [
        ("digits", "digits", "digits"),
        ("uoft-cs/cifar10", "cifar10", "uoft-cs/cifar10"),
        ("/home/someone/My Images", "my-images", "My Images"),
        ("aux", "aux-data", "aux"),
    ],
)
def test_the_data_set_names_the_namespace(data: str, namespace: str, shown: str) -> None:
    assert default_namespace(data) == namespace
    assert data_set_name(data) == shown


@pytest.mark.parametrize("name", ["a\x1b[2J", "x" * 300])
def test_class_name_that_no_manifest_has_is_refused(name: str) -> None:
    with pytest.raises(ModpmError) as caught:
        module_names("data", ["cat", name])
    assert caught.value.code == "bad-class-names"
    assert "\x1b" not in str(caught.value)
