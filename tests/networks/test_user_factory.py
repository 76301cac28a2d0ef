"""A user's network comes by `package.module:factory`, and what goes wrong is told."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import pytest
from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.networks import check_network, create

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATH = list(sys.path)

_SOURCE = """
from torch import nn

def small(n_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(n_classes))

def fixed():
    return nn.Linear(3, 5)

def wide(n_classes, in_channels, width):
    return nn.Conv2d(in_channels, int(8 * width), n_classes)

class Own(nn.Linear):
    def __init__(self, *, n_classes=2):
        super().__init__(3, n_classes)

def like_timm(num_classes=1000, in_chans=3, width_mult=1.0):
    return nn.Conv2d(in_chans, int(8 * width_mult), num_classes)

def wrapped(**kwargs):
    return nn.Linear(3, kwargs["num_classes"])

def deep(n_classes, depth, *, heads):
    return nn.Linear(3, n_classes)

def trained(n_classes, pretrained=False):
    layer = nn.Linear(3, n_classes)
    nn.init.constant_(layer.bias, 7.0 if pretrained else 0.0)
    return layer

def broken(n_classes):
    raise RuntimeError("out of ideas")

def nothing():
    return 3

number = 3
"""

_n_modules = itertools.count()


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that writes a fresh module into the working directory and names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])

    def write(source: str) -> str:
        name = f"user_networks_{next(_n_modules)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_factory_is_given_the_arguments_it_has(user_module: Callable[[str], str]) -> None:
    name = user_module(_SOURCE)
    assert isinstance(create(f"{name}:small", 6), nn.Sequential)
    fixed = create(f"{name}:fixed", 6)
    assert isinstance(fixed, nn.Linear)
    assert fixed.out_features == 5
    wide = create(f"{name}:wide", 3, 1, 0.5)
    assert isinstance(wide, nn.Conv2d)
    assert (wide.in_channels, wide.out_channels) == (1, 4)


def test_class_is_a_factory(user_module: Callable[[str], str]) -> None:
    own = create(f"{user_module(_SOURCE)}:Own", 6)
    assert isinstance(own, nn.Linear)
    assert own.out_features == 6


@pytest.mark.parametrize(
    ("factory", "code", "said"),
    [
        ("broken", "factory-failed", "RuntimeError: out of ideas"),
        ("nothing", "factory-without-network", "returned a int"),
        ("number", "factory-not-callable", "it is a int"),
        ("absent", "factory-not-found", "has no `absent`"),
        ("", "bad-factory-name", "package.module:factory"),
        ("a b", "bad-factory-name", "package.module:factory"),
    ],
)
def test_bad_factory_is_told(
    user_module: Callable[[str], str], factory: str, code: str, said: str
) -> None:
    with pytest.raises(ModpmError) as caught:
        create(f"{user_module(_SOURCE)}:{factory}", 2)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_failure_names_the_users_line(user_module: Callable[[str], str]) -> None:
    with pytest.raises(ModpmError) as caught:
        create(f"{user_module(_SOURCE)}:broken", 2)
    assert caught.value.where is not None
    assert caught.value.where.endswith(".py:32")


def test_factory_is_given_arguments_by_its_own_names(user_module: Callable[[str], str]) -> None:
    name = user_module(_SOURCE)
    conv = create(f"{name}:like_timm", 3, 1, 0.5)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (1, 4, (3, 3))
    linear = create(f"{name}:wrapped", 6)
    assert isinstance(linear, nn.Linear)
    assert linear.out_features == 6


def test_factory_that_wants_other_arguments_is_told_which(
    user_module: Callable[[str], str],
) -> None:
    with pytest.raises(ModpmError, match="nothing is known of `depth`, `heads`") as caught:
        create(f"{user_module(_SOURCE)}:deep", 6)
    assert (caught.value.code, caught.value.exit_code) == ("factory-wants-arguments", 2)


def test_factory_is_told_to_bring_its_weights(user_module: Callable[[str], str]) -> None:
    name = user_module(_SOURCE)
    for pretrained in (False, True):
        layer = create(f"{name}:trained", 2, pretrained=pretrained)
        assert isinstance(layer, nn.Linear)
        assert bool((layer.bias == 7).all()) == pretrained
    # One without that parameter is taken at its user's word: it may load weights always.
    assert isinstance(create(f"{name}:small", 2, pretrained=True), nn.Sequential)


def test_width_needs_a_factory_that_takes_it(user_module: Callable[[str], str]) -> None:
    with pytest.raises(ModpmError, match="no parameter `width`"):
        create(f"{user_module(_SOURCE)}:small", 2, width=0.5)


@pytest.mark.usefixtures("user_module")
def test_missing_module_is_told() -> None:
    with pytest.raises(ModpmError, match=r"there is no module `not_here\.at_all`"):
        create("not_here.at_all:make", 2)


def test_module_that_imports_a_missing_module_is_not_called_missing(
    user_module: Callable[[str], str],
) -> None:
    name = user_module("import package_that_is_not_installed")
    with pytest.raises(ModpmError, match=r"importing .* failed") as caught:
        create(f"{name}:make", 2)
    assert "package_that_is_not_installed" in str(caught.value)


def test_module_with_a_syntax_error_is_told(user_module: Callable[[str], str]) -> None:
    with pytest.raises(ModpmError, match="SyntaxError") as caught:
        create(f"{user_module('def make(:')}:make", 2)
    assert str(caught.value.where).endswith(".py:1")


_SCRIPT = """
import argparse, sys
from torch import nn

print("reading options")
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=2)
options = parser.parse_args()

def make(n_classes):
    print("making", options.depth)
    return nn.Linear(options.depth, n_classes)

def leave(n_classes):
    exit(3)

def compiled():
    import torch
    return torch.compile(nn.DataParallel(nn.Linear(3, 5)))
"""


def test_a_script_that_parses_arguments_and_prints_is_a_module_like_others(
    user_module: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["modpm", "train", "--arch", "something"]
    monkeypatch.setattr("sys.argv", arguments)
    network = create(f"{user_module(_SCRIPT)}:make", 3)
    assert isinstance(network, nn.Linear)
    assert network.in_features == 2
    assert sys.argv is arguments
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "reading options\nmaking 2\n"


def test_a_factory_that_exits_is_told_with_its_line(user_module: Callable[[str], str]) -> None:
    with pytest.raises(ModpmError) as caught:
        create(f"{user_module(_SCRIPT)}:leave", 3)
    assert caught.value.code == "factory-failed"
    assert "exits (3)" in str(caught.value.why)
    assert str(caught.value.where).endswith(".py:15")


def test_a_module_that_exits_is_told_with_its_line(user_module: Callable[[str], str]) -> None:
    name = user_module("import sys\n\nsys.exit(0)")
    with pytest.raises(ModpmError) as caught:
        create(f"{name}:make", 3)
    assert caught.value.code == "factory-failed"
    assert str(caught.value.where).endswith(".py:3")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's, of itself
def test_a_compiled_or_parallel_network_is_taken_as_it_was_before(
    user_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = user_module(_SCRIPT)
    monkeypatch.setattr("sys.path", _PATH)  # `torch.compile` imports more of torch
    assert isinstance(create(f"{name}:compiled", 3), nn.Linear)


_FAILING = """
from torch import nn

class Asserting(nn.Module):
    def forward(self, x):
        assert x.shape[1] == 9, "nine channels"
        return x

class Misshapen(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x.mean((1, 2, 3)))

def unbuildable():
    return nn.Conv2d(3, 4, 3, groups=2)
"""


@pytest.mark.parametrize(
    ("network", "line", "why"),
    [("Asserting", 6, "AssertionError: nine channels"), ("Misshapen", 15, "RuntimeError: ")],
)
def test_a_network_that_fails_in_its_trial_run_is_told_with_its_line(
    network: str, line: int, why: str, user_module: Callable[[str], str]
) -> None:
    made = create(f"{user_module(_FAILING)}:{network}", 2)
    with pytest.raises(ModpmError) as caught:
        check_network(made, (3, 8, 8), 2)
    assert caught.value.code == "network-refuses-images"
    assert str(caught.value.where).endswith(f".py:{line}")
    assert str(caught.value.why).startswith(why)


def test_a_layer_that_torch_refuses_to_make_is_told_with_the_users_line(
    user_module: Callable[[str], str],
) -> None:
    with pytest.raises(ModpmError) as caught:
        create(f"{user_module(_FAILING)}:unbuildable", 2)
    assert str(caught.value.where).endswith(".py:18")
    assert "divisible by groups" in str(caught.value.why)
