"""A user's own network, named as `package.module:factory`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.graph.guest import said, user_place
from modpm.core.named_classes import guest, import_of_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def create_from_factory(arch: str, n_classes: int, in_channels: int, width: float) -> nn.Module:
    """Import the module, call the factory, and check that an `nn.Module` came back.

    The working directory can be imported from. The factory is given those of `n_classes`,
    `in_channels` and `width` that it has parameters for. It finds no arguments in `sys.argv`,
    and what it prints goes to where errors go. A network that it compiled, or made parallel, is
    taken as it was before.

    Raises:
        ModpmError: The name is malformed, the module or factory is missing, either fails, the
            factory has no `width` though one is asked for, or its value is no `nn.Module`.
    """
    factory = _import_factory(arch)
    given = {"n_classes": n_classes, "in_channels": in_channels, "width": width}
    accepted = _accepted_arguments(factory, given)
    if width != 1.0 and "width" not in accepted:
        raise ModpmError(
            f"`{arch}` has no width factor",
            code="factory-without-width",
            why="its factory has no parameter `width`",
            hint="leave out --width, or give the factory that parameter",
            exit_code=2,
        )
    try:
        with guest():
            network = factory(**accepted)
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise _failed(arch, f"calling `{arch}` failed", error) from error
    while isinstance(network, nn.DataParallel) or hasattr(network, "_orig_mod"):
        attribute = "module" if isinstance(network, nn.DataParallel) else "_orig_mod"
        network = getattr(network, attribute)
    if not isinstance(network, nn.Module):
        raise ModpmError(
            f"`{arch}` does not make a network",
            code="factory-without-network",
            why=f"it returned a {type(network).__name__}, not a torch.nn.Module",
        )
    return network


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


def _accepted_arguments(
    factory: Callable[..., object], given: dict[str, float]
) -> dict[str, float]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
    by_name = {
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return {name: value for name, value in given.items() if name in by_name}


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
