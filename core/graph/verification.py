"""The check that a traced graph computes what the network does, and why where it does not."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx
from torch.func import functional_call

from modpm.core.errors import ModpmError
from modpm.core.graph.guest import Guest, exported, failure, running, user_line
from modpm.core.graph.interpreter import build
from modpm.core.graph.translation import bound, operator_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.formats.network_graph import Graph

RELATIVE_TOLERANCE = 1e-3
"""How far a traced network may be from the network, of its largest output: float32 rounding."""

N_RECORDED = 2
"""How many images a network is recorded on."""

_BATCH_SIZES = (N_RECORDED, 5, 1)


def random_images(like: Tensor, n_images: int) -> Tensor:
    """Return so many random images of the size and type of others."""
    chance = torch.Generator().manual_seed(n_images)
    images = torch.randn(n_images, *like.shape[1:], generator=chance)
    return images.to(like.device, like.dtype)


def verify(
    guest: Guest,
    program: torch.export.ExportedProgram,
    translate: Callable[[Mapping[str, Tensor]], tuple[Graph, dict[str, Tensor]]],
    images: Tensor,
) -> None:
    """Check that a graph gives what the network gives in evaluation mode.

    Args:
        guest: The network.
        program: What was recorded of it, in training mode.
        translate: Makes the graph from it, for tensors of any numbers.
        images: What it was recorded on.

    Raises:
        ModpmError: It does not (`untraceable-network`, `unsupported-control-flow`), or fails for
            some number of images.
    """
    state = _unalike(program)
    traced = build(*translate(state)).eval()
    for n_images in _BATCH_SIZES:
        batch = random_images(images, n_images)
        expected = _evaluated(guest, state, batch)
        if expected is None:
            continue
        with torch.no_grad():
            found = traced(batch)
        if n_images == 1 and found.shape != expected.shape:
            continue  # a `squeeze` took the one image for nothing
        why = _difference(found, expected)
        if why is not None and n_images == N_RECORDED:
            raise _differs_in_evaluation(guest, program, images, why)
        if why is not None:
            raise _differs_for(guest, images, batch, why)


def _unalike(program: torch.export.ExportedProgram) -> dict[str, Tensor]:
    """Return a network's tensors, random where learned numbers or statistics are all alike.

    Only then does it show what became of a normalization that is still the identity, or of a
    branch that is still multiplied by zero.
    """
    chance, parameters = torch.Generator().manual_seed(0), program.graph_signature.parameters
    made: dict[int, Tensor] = {}  # tensors of two names stay one
    for name, tensor in program.state_dict.items():
        is_learned = name in parameters or name.endswith((".running_mean", ".running_var"))
        is_alike = is_learned and bool((tensor == tensor.flatten()[:1]).all())
        if tensor.data_ptr() not in made:
            made[tensor.data_ptr()] = (
                _random(tensor, chance) if is_alike else tensor.detach().clone()
            )
    return {name: made[tensor.data_ptr()] for name, tensor in program.state_dict.items()}


def _random(like: Tensor, chance: torch.Generator) -> Tensor:
    """Return random numbers in the place of others, of which a sum is no larger than one."""
    n_summed = math.prod(like.shape[1:]) if like.dim() > 1 else 1
    numbers = torch.rand(like.shape, generator=chance) + 0.5
    return (numbers / math.sqrt(n_summed)).to(like.device, like.dtype)


def _evaluated(guest: Guest, state: dict[str, Tensor], batch: Tensor) -> Tensor | None:
    """Return what the network gives; None where it does not take one image alone."""
    names = [
        f"{path}.{leaf}"
        for path, module in guest.named_modules()  # a module of two names by one of them
        for leaf in (*module._parameters, *module._buffers)  # noqa: SLF001 - tied ones too
    ]
    once = {name: state[name] for name in names if name in state}
    with running(guest, is_training=False), torch.no_grad():
        try:
            output: Tensor = functional_call(guest, once, (batch,), tie_weights=False)
        except ModpmError:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            if len(batch) == 1:
                return None
            raise failure(error, guest) from error
    return output


def _difference(found: Tensor, expected: Tensor) -> str | None:
    if found.shape != expected.shape:
        return f"shapes {tuple(found.shape)} and {tuple(expected.shape)}"
    scale = expected.abs().nan_to_num(0, 0, 0).max().clamp(min=1e-6) if expected.numel() else 1.0
    limit = RELATIVE_TOLERANCE * float(scale)
    if torch.allclose(found, expected, rtol=0, atol=limit, equal_nan=True):
        return None
    return f"outputs differ by {float((found - expected).abs().max()):.3g}"


def _differs_in_evaluation(
    guest: Guest, program: torch.export.ExportedProgram, images: Tensor, why: str
) -> ModpmError:
    calls = _calls(exported(guest, images, is_training=False))
    for call in calls:
        if _is_random(call):
            return ModpmError(
                "the network is random in evaluation, too",
                code="untraceable-network",
                where=user_line(call),
                why=f"`{operator_name(call)}` stays on",
                hint="use `nn.Dropout`, or give `F.dropout` `training=self.training`",
            )
    other = _first_difference(_calls(program), calls)
    if other is not None:
        return ModpmError(
            "the network does something else in evaluation than in training",
            code="untraceable-network",
            where=user_line(other),
            why=f"`{operator_name(other)}` is called in one of the two alone",
            hint="a network graph does in both what its operators say; take out what only one does",
        )
    return _differs(why)


def _differs(why: str) -> ModpmError:
    return ModpmError(
        "the graph that was read does not compute what the network does",
        code="untraceable-network",
        why=why,
        hint="a network that changes values in place, or keeps a state, cannot be read",
    )


def _differs_for(guest: Guest, images: Tensor, batch: Tensor, why: str) -> ModpmError:
    programs = [exported(guest, some, is_training=False) for some in (images, batch)]
    other = _first_difference(*map(_calls, programs))
    if other is None:
        return _differs(why)
    return ModpmError(
        f"the network does something else for {len(batch)} images than for {len(images)}",
        code="unsupported-control-flow",
        where=user_line(other),
        why=why,
        hint="a network graph does the same for any number of images",
    )


def _calls(program: torch.export.ExportedProgram) -> list[fx.Node]:
    """Return the calls of a program, but for those that count batches."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    return [call for call in calls if not (operator_name(call) == "add" and _changes_input(call))]


def _changes_input(call: fx.Node) -> bool:
    target = call.args[0] if call.args else None
    return (
        str(call.target).split(".")[1].endswith("_")
        and isinstance(target, fx.Node)
        and target.op == "placeholder"
    )


def _is_random(call: fx.Node) -> bool:
    tags = getattr(call.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags and dict(bound(call)).get("train", True)


def _first_difference(calls: list[fx.Node], others: list[fx.Node]) -> fx.Node | None:
    """Return the first call of the longer list that the other does not have at its place."""
    long, short = (calls, others) if len(calls) > len(others) else (others, calls)
    for call, other in zip_longest(long, short):
        if other is None or _form(call) != _form(other):
            return call
    return None


def _form(call: fx.Node) -> tuple[str, tuple[int, ...]]:
    """Return what a call does, and the shape that it gives for one image."""
    value = call.meta.get("val")
    shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
    return operator_name(call), shape
