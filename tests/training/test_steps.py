"""Losses that stay on the device, and steps that are compiled."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.training.batches import Batch
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.views import Views
from modpm.core.training.steps import EVERY, CompiledLoss, EpochLosses, compile_options

if TYPE_CHECKING:
    from modpm.core.training.methods.method import Losses, Method


def test_losses_are_means_over_the_steps_that_had_them() -> None:
    losses = EpochLosses()
    for step in range(120):
        late = {"late": torch.tensor(float(step))} if step >= 100 else {}
        losses.add({"loss": torch.tensor(float(step)), **late})
    losses.read()
    means = losses.means()
    assert means == {"loss": pytest.approx(59.5), "late": pytest.approx(109.5)}


def test_losses_are_read_after_the_first_step_and_then_every_fifty() -> None:
    losses, known = EpochLosses(), []
    for step in range(2 * EVERY + 2):
        losses.add({"loss": torch.tensor(float(step))})
        known.append(losses.last)
    assert known == [0.0] * EVERY + [float(EVERY)] * EVERY + [2.0 * EVERY] * 2
    losses.read()
    assert losses.last == 2 * EVERY + 1


@pytest.mark.parametrize("bad", [0, 7, EVERY, EVERY + 9])
def test_the_first_step_that_is_not_finite_is_found(bad: int) -> None:
    losses = EpochLosses()
    for step in range(2 * EVERY):
        value = math.nan if step >= bad else 1.0
        losses.add({"loss": torch.tensor(value), "part": torch.tensor(float(step))})
    losses.read()
    assert losses.not_finite is not None
    assert losses.not_finite.step == bad + 1
    assert losses.not_finite.losses["part"] == bad


def test_losses_of_an_epoch_that_was_interrupted_go_on() -> None:
    steps = [{"loss": torch.tensor(0.1 * step)} for step in range(1, 2 * EVERY)]
    straight, stopped = EpochLosses(), EpochLosses()
    for losses, done in ((straight, steps), (stopped, steps[: EVERY + 1])):
        for step in done:
            losses.add(step)
    assert stopped.is_read
    resumed = EpochLosses(stopped.sums, EVERY + 1)
    for step in steps[EVERY + 1 :]:
        resumed.add(step)
    for losses in (straight, resumed):
        losses.read()
    assert resumed.sums == straight.sums
    resumed.add({"loss": torch.tensor(math.nan)})
    resumed.read()
    assert resumed.not_finite is not None
    assert resumed.not_finite.step == 2 * EVERY


def test_losses_are_means_of_all_processes_and_the_first_bad_step_that_of_any() -> None:
    other = iter([1.0, 3.0, math.inf, math.nan])
    losses = EpochLosses(gather=lambda mine: torch.stack([mine, torch.tensor([next(other)])]))
    known = []
    for _ in range(2):
        losses.add({"loss": torch.tensor(2.0)})
        losses.read()
        known.append(losses.last)
    assert known == [1.5, 2.5]
    assert losses.means() == {"loss": 2.0}
    for _ in range(2):
        losses.add({"loss": torch.tensor(2.0)})
        losses.read()
    assert losses.not_finite is not None
    assert (losses.not_finite.step, losses.not_finite.losses) == (3, {"loss": math.inf})


def method_of(name: str) -> Method:
    torch.manual_seed(0)
    kind = find_method(name)
    graph, tensors = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    prepared = kind.prepare(graph, tensors, torch.Generator().manual_seed(0))
    method = kind(build(*prepared), Task(n_classes=3, retention=0.5, settings=kind.settings))
    return method.train()


def inputs_of(method: Method) -> tuple[Tensor, ...]:
    chance = torch.Generator().manual_seed(1)
    images = torch.randn(12, 1, 8, 8, generator=chance)
    if isinstance(method, Views):
        sizes = method.n_kernels.values()
        ranks = [torch.rand(3, n, generator=chance).argsort(1) for n in sizes]
        method.ranks.copy_(torch.cat(ranks, 1))
    return method.draw(Batch(images, torch.arange(12) % 3), chance)


def gradients(method: Method, losses: Losses) -> list[Tensor]:
    trained = [p for p in method.parameters() if p.requires_grad]
    return list(torch.autograd.grad(losses["loss"], trained))


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
@pytest.mark.parametrize("name", ["plain", "mwt", "moda", "views"])
def test_a_compiled_step_is_the_plain_one(name: str) -> None:
    plain, compiled = method_of(name), method_of(name)
    inputs = inputs_of(plain)
    inputs_of(compiled)
    losses = plain(*inputs)
    step = CompiledLoss(compiled, {"backend": "aot_eager"})  # inductor takes a minute
    found = step(*inputs)
    assert step.is_compiled
    assert found.keys() == losses.keys()
    for key, loss in losses.items():
        torch.testing.assert_close(found[key], loss, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients(compiled, found), gradients(plain, losses), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], tensor, rtol=1e-4, atol=1e-5)


class Uncompilable(nn.Module):
    """What a compiler cannot take."""

    def forward(self, x: Tensor) -> Losses:
        torch._dynamo.graph_break()
        return {"loss": x.sum()}


def test_what_cannot_be_compiled_runs_plainly_and_says_so_once() -> None:
    step = CompiledLoss(Uncompilable(), {"fullgraph": True})
    with pytest.warns(UserWarning, match="the step is not compiled, and slower"):
        assert step(torch.ones(3))["loss"] == 3
    assert not step.is_compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step(torch.ones(4))["loss"] == 4


def test_steps_are_compiled_on_cuda_and_not_where_equal_bytes_are_asked_for() -> None:
    cuda, processor = torch.device("cuda"), torch.device("cpu")
    assert compile_options(cuda, is_deterministic=False) is not None
    assert compile_options(cuda, is_deterministic=True) is None
    assert compile_options(processor, is_deterministic=False) is None
