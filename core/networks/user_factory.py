"""A user's own network, named as `package.module:factory`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.graph.guest import said, user_place
from modpm.core.named_classes import guest, import_of_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType


NAMES: dict[str, tuple[str, ...]] = {
    "n_classes": (
        "n_classes", "num_classes", "nb_classes", "n_class", "num_class", "n_labels", "num_labels",
        "n_outputs", "num_outputs", "out_features",
    ),
    "in_channels": (
        "in_channels", "in_chans", "in_ch", "num_in_channels", "n_in_channels", "input_channels",
        "image_channels", "img_channels",
    ),
    "width": ("width", "width_mult", "width_multiplier", "width_factor"),
    "pretrained": ("pretrained",),
}  # fmt: skip
"""What factories call what they are given; it is given by the first name that one has."""

_OF_ANY = {"n_classes": "num_classes"}
"""What is given by which name to a factory that takes any: nearly all call it so."""


Made = TypeVar("Made")


def create_from_factory(
    arch: str, n_classes: int, in_channels: int, width: float, *, pretrained: bool = False
) -> nn.Module:
    """Import the module, call the factory, and check that an `nn.Module` came back.

    The working directory can be imported from. The factory is given what it has parameters for,
    by any of their names in `NAMES`; one that takes `**kwargs` and names no number of classes is
    given `num_classes`. It finds no arguments in `sys.argv`, and what it prints goes to where
    errors go. A network that it compiled, or made parallel, is taken as it was before.

    Raises:
        ModpmError: The name is malformed, the module or factory is missing, either fails, the
            factory wants other arguments, has no `width` though one is asked for, or its value is
            no `nn.Module`.
    """
    factory = _import_factory(arch)
    given: dict[str, object] = {"n_classes": n_classes, "in_channels": in_channels}
    if width != 1.0:
        given["width"] = width
    if pretrained:
        given["pretrained"] = True
    arguments = _arguments(arch, factory, given)
    network = unwrapped(called(arch, lambda: factory(**arguments)))
    if not isinstance(network, nn.Module):
        raise ModpmError(
            f"`{arch}` does not make a network",
            code="factory-without-network",
            why=f"it returned a {type(network).__name__}, not a torch.nn.Module",
        )
    return network


def unwrapped(network: object) -> object:
    """Return a network as it was before it was compiled, or made parallel."""
    while isinstance(network, nn.DataParallel) or hasattr(network, "_orig_mod"):
        attribute = "module" if isinstance(network, nn.DataParallel) else "_orig_mod"
        network = getattr(network, attribute)
    return network


def called(arch: str, make: Callable[[], Made]) -> Made:
    """Let code that is not ours make a network.

    Raises:
        ModpmError: It fails (`factory-failed`).
    """
    try:
        with guest():
            return make()
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise _failed(arch, f"calling `{arch}` failed", error) from error


def _import_factory(arch: str) -> Callable[..., object]:
    module_name, _, attribute = arch.partition(":")
    names = [*module_name.split("."), *attribute.split(".")]
    if not all(name.isidentifier() for name in names):
        raise ModpmError(
            f"`{arch}` does not name a network",
            code="bad-factory-name",
            hint="write it as `package.module:factory`, for example `my_networks:make`",
            exit_code=2,
        )
    found: object = _import_module(arch, module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ModpmError(
                f"module `{module_name}` has no `{attribute}`",
                code="factory-not-found",
                where=str(getattr(sys.modules[module_name], "__file__", None) or module_name),
            )
        found = getattr(found, name)
    if not callable(found):
        raise ModpmError(
            f"`{arch}` cannot be called",
            code="factory-not-callable",
            why=f"it is a {type(found).__name__}",
            hint="name a function or class that makes the network",
        )
    return found


def _import_module(arch: str, module_name: str) -> ModuleType:
    try:
        return import_of_user(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _failed(arch, f"importing `{module_name}` failed", error) from error
        raise ModpmError(
            f"there is no module `{module_name}`",
            code="factory-module-not-found",
            where=f"--arch {arch}",
            why=f"neither the working directory {Path.cwd()} nor the Python environment has it",
        ) from error
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise _failed(arch, f"importing `{module_name}` failed", error) from error


def _arguments(
    arch: str, factory: Callable[..., object], given: Mapping[str, object]
) -> dict[str, object]:
    """Return what is given to a factory, by its own names.

    Raises:
        ModpmError: It has no parameter for a width that is asked for (`factory-without-width`), or
            wants more (`factory-wants-arguments`).
    """
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        parameters = []
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    is_bare = (
        getattr(factory, "__init__", None) is nn.Module.__init__
    )  # it takes any and refuses all
    takes_any = not is_bare and any(p.kind is p.VAR_KEYWORD for p in parameters)
    arguments = {}
    for what, value in given.items():
        name = next((name for name in NAMES[what] if name in named), None)
        name = name or (_OF_ANY.get(what) if takes_any else None)
        if name is not None:
            arguments[name] = value
        elif what == "width":
            raise without_width(arch)
    lacking = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in arguments
    ]
    if lacking:
        raise _wanting(arch, lacking)
    return arguments


def _wanting(arch: str, lacking: Sequence[str]) -> ModpmError:
    known = ", ".join(f"`{names[0]}`, `{names[1]}`, …" for names in list(NAMES.values())[:2])
    return ModpmError(
        f"`{arch}` wants arguments that it is not given",
        code="factory-wants-arguments",
        where=f"--arch {arch}",
        why=f"nothing is known of {', '.join(f'`{name}`' for name in lacking)}",
        hint="give them defaults, or write a function around it; a factory is given the number "
        f"of classes and of channels, by what it calls them ({known})",
        exit_code=2,
    )


def without_width(arch: str, why: str = "its factory has no parameter `width`") -> ModpmError:
    """Return the error of a width that is asked of a network which has none."""
    return ModpmError(
        f"`{arch}` has no width factor",
        code="factory-without-width",
        why=why,
        hint="leave out --width, or give the factory that parameter",
        exit_code=2,
    )


def without_pretrained(arch: str, why: str) -> ModpmError:
    """Return the error of trained weights that are asked of what has none."""
    return ModpmError(
        f"`{arch}` has no trained weights of its own",
        code="no-pretrained-weights",
        why=why,
        hint="give a file of weights by --init, or leave out --pretrained",
        exit_code=2,
    )


def _failed(arch: str, what: str, error: BaseException) -> ModpmError:
    return ModpmError(
        what,
        code="factory-failed",
        where=user_place(error) or f"--arch {arch}",
        why=said(error),
        hint="a module that is imported must not exit; keep a script's own work under "
        "`if __name__ == '__main__':`"
        if isinstance(error, SystemExit)
        else None,
    )
