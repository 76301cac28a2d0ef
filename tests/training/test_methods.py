"""Methods by their names, and one that is not of this package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from modpm.core import named_classes
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.data import load_data
from modpm.core.errors import ModpmError
from modpm.core.modularizing.modularize import modularize
from modpm.core.training.loop import train
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Method

if TYPE_CHECKING:
    from pathlib import Path

TOY = "tests.training.toy_method:Toy"


@pytest.mark.parametrize("name", ["views", "mwt", "moda", "plain", TOY])
def test_a_method_is_found_by_its_name(name: str) -> None:
    assert issubclass(find_method(name), Method)


@pytest.mark.parametrize(
    "name", ["magic", "tests.training.toy_method:Other", "no.such.module:Toy", "math:pi", ":", "a:"]
)
def test_what_is_no_method_is_refused(name: str) -> None:
    with pytest.raises(ModpmError) as refusal:
        find_method(name)
    assert refusal.value.code == "unknown-method"
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        (".relative:Toy", "", None),
        ("raising:Toy", "raise ValueError('mine')", "ValueError: mine"),
        ("leaving:Toy", "raise SystemExit(3)", "SystemExit: 3"),
        (
            "lacking:Toy",
            "from modpm.core.training.methods.method import Method as Toy",
            "it has no evidence, evidence_type, loss",
        ),
    ],
)
def test_a_class_of_a_user_is_refused_in_words(
    name: str, code: str, why: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where it is found, as a factory is
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / f"{name.partition(':')[0].strip('.')}.py").write_text(code)
    with pytest.raises(ModpmError) as refusal:
        find_method(name)
    assert (refusal.value.code, refusal.value.why) == ("unknown-method", why)


def test_methods_that_are_shipped_look_for_nothing_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("views", "mwt", "moda", "plain"):
        find_method(name)
    assert str(tmp_path) not in sys.path


def test_another_package_names_its_method(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        value = TOY

    monkeypatch.setattr(named_classes, "entry_points", lambda **_: [Entry])
    assert find_method("toy").__name__ == "Toy"


def test_a_method_of_another_package_trains_cuts_and_composes(tmp_path: Path) -> None:
    run = train(
        "digits",
        output=tmp_path / "run",
        width=0.5,
        epochs=2,
        batch_size=64,
        method=TOY,
        settings={"smoothing": 0.2},
    )
    assert (run.config.arch, run.config.settings) == ("digits_cnn", {"smoothing": 0.2})
    made = modularize(run, output=tmp_path / "dist", retention=0.6)
    assert made.kernel_retention_rate <= 0.6
    assert made.manifests[0].modularizer.method == TOY
    modules = [ClassModule.from_folder(one.folder) for one in made.distributions[:3]]
    images = load_data("digits", "test").images[:5]
    assert compose_modules(modules, "fused").score_images(images).shape == (5, 3)
