"""A user's network while it is run: in training or evaluation, quietly, and left as it was."""

from __future__ import annotations

import inspect
import io
import logging
import random
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx, nn

from modpm.core.errors import ModpmError

_TORCH_FOLDER = str(Path(torch.__file__).parent)
_OWN_FOLDER = str(Path(__file__).parents[1])
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


class Guest(nn.Module):
    """A user's network, whose output is made one tensor, whatever it is wrapped in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; in training the first value, which others may accompany."""
        output = self.network(x)
        if isinstance(output, Mapping):
            output = output.get("logits", output)
        output = getattr(output, "logits", output)
        if isinstance(output, tuple | list) and (len(output) == 1 or (output and self.training)):
            output = output[0]
        if isinstance(output, Tensor):
            return output
        raise ModpmError(
            "the network does not return one tensor",
            code="unsupported-output",
            why=f"it returns a value of type {type(output).__name__}",
            hint="return the logits, or an object or dictionary with `logits`",
        )


@contextmanager
def running(guest: Guest, *, is_training: bool) -> Iterator[None]:
    """Put a network into a mode, let nothing be heard of it, and leave it as it was.

    What it prints goes to where errors go: the output of a command is not its own.
    """
    modes = {module: module.training for module in guest.modules()}
    silenced = logging.root.manager.disable
    with redirect_stdout(sys.stderr), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # those of the user's network, which its own runs show
        logging.disable(logging.CRITICAL)  # torch's pages about what it cannot record
        guest.train(is_training)
        try:
            yield
        finally:
            logging.disable(silenced)
            for module, mode in modes.items():
                module.training = mode


def exported(guest: Guest, images: Tensor, *, is_training: bool) -> torch.export.ExportedProgram:
    """Record what a network does with images.

    Raises:
        ModpmError: It fails (`untraceable-network`), decides by numbers
            (`unsupported-control-flow`), or draws by chance outside of torch.
    """
    with running(guest, is_training=is_training), _watched(guest) as drawing:
        sink = redirect_stderr(io.StringIO())  # which torch fills with what it has recorded so far
        try:
            with sink:
                program = torch.export.export(guest, (images,), strict=False)
        except ModpmError:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            raise failure(error, guest) from error
    if drawing:
        raise ModpmError(
            "the network draws by chance with the random numbers of Python or NumPy",
            code="unsupported-control-flow",
            where=drawing[0],
            why="a network graph does the same for every batch",
            hint="take the drawing out, or use `nn.Dropout`",
        )
    return program


def _chance() -> tuple[object, ...]:
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - what users' networks draw from
    return random.getstate(), repr(numpy)


@contextmanager
def _watched(guest: Guest) -> Iterator[list[str]]:
    """Note the forward methods that draw random numbers of Python's or NumPy's."""
    found: list[str] = []
    running_modules: list[nn.Module] = [guest]
    before = _chance()

    def note() -> None:
        if not found and _chance() != before:
            forward = type(running_modules[-1]).forward
            _, line = inspect.getsourcelines(forward)
            found.append(f"{inspect.getsourcefile(forward)}:{line}")

    def enter(module: nn.Module, *_: object) -> None:
        note()
        running_modules.append(module)

    def leave(*_: object) -> None:
        note()
        running_modules.pop()

    modules = list(guest.network.modules())
    hooks = [module.register_forward_pre_hook(enter) for module in modules]
    hooks += [module.register_forward_hook(leave) for module in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def user_place(error: BaseException) -> str | None:
    """Return `file:line` of the user's code that an error comes from, if any of it is theirs."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None


def _is_users(file: str) -> bool:
    """Whether a file is neither torch's nor ours nor Python's own; other packages may well be."""
    if file.startswith((_TORCH_FOLDER, _OWN_FOLDER, "<")):
        return False
    of_python, installed = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    return file.startswith(installed) or not file.startswith(of_python)


def said(error: BaseException) -> str:
    """Return what an error of the user's code says, in one line."""
    if isinstance(error, SystemExit):
        return f"it exits ({error})"
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]


def failure(error: BaseException, guest: Guest) -> ModpmError:
    """Explain why a network could not be run."""
    where, why = user_place(error), said(error)
    if "data-dependent" not in str(error).lower():
        code = "untraceable-network"
        return ModpmError("the network cannot be run", code=code, where=where, why=why)
    averaging = _cumulative_norm(guest)
    if averaging is not None:
        return ModpmError(
            "a network graph has no batch normalization that averages over all batches",
            code="unsupported-operator",
            where=where or f"layer `{averaging}`",
            why=f"`{averaging}` has `momentum=None`",
            hint="give it a momentum, for example `momentum=0.1`",
        )
    return ModpmError(
        "the network decides by the numbers in an image",
        code="unsupported-control-flow",
        where=where,
        why=why,
        hint="a network graph does the same for every image; decide by shapes or options",
    )


def _cumulative_norm(guest: Guest) -> str | None:
    """Return the batch normalization that a network cannot be recorded for, if one is there."""
    norms = {
        name: module
        for name, module in guest.network.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)  # noqa: SLF001 - torch names no other
    }
    return next((name for name, norm in norms.items() if norm.momentum is None), None)


def user_line(node: fx.Node) -> str | None:
    """Return `file:line` of the user's code that made a node."""
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    own = [f for f in frames if _is_users(f["file"])]
    if own:
        return f"{own[-1]['file']}:{own[-1]['line']}"
    parts = [part for part in node.args if isinstance(part, fx.Node) and part.op == "get_attr"]
    for part in parts:
        inner = getattr(node.graph.owning_module, str(part.target))
        for call in inner.graph.nodes:
            if line := user_line(call):
                return line
    return None
