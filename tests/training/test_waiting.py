"""No step waits for the device: between two readings of the losses the host only hands out work.

The device is torch's `meta`, which has no numbers: to read one fails.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.optim.sgd import sgd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.system.energy import NOTHING
from modpm.core.training import optimizer
from modpm.core.training.batches import TrainingImages
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.views import Views
from modpm.core.training.optimizer import Descent
from modpm.core.training.session import Session, _train_step
from modpm.core.training.steps import EVERY, CompiledLoss, EpochLosses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modpm.core.training.methods.method import Method

META = torch.device("meta")


class NothingWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Fails where a tensor is moved and the host waits, or where tensors of two devices meet."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Look at what is called, and call it."""
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        where = {tensor.device.type for tensor in (*tensors, *made) if tensor.dim()}
        is_sent = func is torch.ops.aten._to_copy.default and kwargs.get("non_blocking")
        assert len(where) < 2 or (is_sent and made[0].device == META), func
        return result


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Fail where the host waits, or sends numbers of Python, for which it does."""
    make = torch.tensor

    def tensor(*arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401 -- passed on as they are
        made = make(*arguments, **options)
        assert made.device != META, "numbers are sent, and waited for"
        return made

    watch = NothingWaits()  # type: ignore[no-untyped-call]  # torch's
    # Of which this device has none.
    no_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    not_fused = patch.object(optimizer, "sgd", lambda *a, **k: sgd(*a, **(k | {"fused": False})))
    with patch.object(torch, "tensor", tensor), no_autocast, not_fused, watch:
        yield


def images(device: torch.device) -> TrainingImages:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (24, 1, 8, 8), generator=chance, dtype=torch.uint8)
    data = ImageData(pixels, torch.arange(24) % 3, ("cat", "dog", "fish"), "made up", "train")
    contract = InputContract(channels=1, height=8, width=8, mean=[0.5], std=[0.25])
    return TrainingImages(data, contract, device)


def method_of(name: str, *, is_trained: bool, **settings: float) -> Method:
    kind = find_method(name)
    traced = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    task = Task(3, 0.5, {**kind.settings, **settings}, is_trained=is_trained)
    method = kind(build(*kind.prepare(*traced, torch.Generator().manual_seed(0))), task)
    if method.is_to_look(0.5):
        method.look(images(torch.device("cpu")))
    return method.train()


def on_meta(method: Method) -> Method:
    if not isinstance(method, Views):
        return method.to(META)
    # What it makes of its ranks once, on their device.
    kept, (weights, in_modules) = method.kept(), method._partial_weights()
    names = {id(weight): name for name, weight in method.network.named_parameters()}
    method.to(META)
    method._kept = {layer: mask.to(META) for layer, mask in kept.items()}
    moved = [method.network.get_parameter(names[id(weight)]) for weight in weights]
    method._partial = [*moved], [mask.to(META) for mask in in_modules]
    return method


def session_of(method: Method) -> Session:
    accelerator = SimpleNamespace(
        device=META, process_index=0, num_processes=1, backward=lambda loss: loss.backward()
    )
    config = SimpleNamespace(seed=0, epochs=2, lr=0.1, is_trained=False)
    run: Any = SimpleNamespace(config=config, method=type(method), n_steps=2 * EVERY)
    losses = CompiledLoss(method, None)
    steps = Descent(method, 5e-4)
    return Session(run, accelerator, method, losses, steps, images(META), 0, {}, NOTHING)


@pytest.mark.parametrize(
    ("name", "is_trained", "settings"),
    [
        ("plain", False, {}),
        ("mwt", False, {}),
        ("mwt", False, {"contrastive": 1.0}),
        ("moda", False, {}),
        ("views", False, {}),
        ("views", True, {}),
    ],
)
def test_no_step_waits_for_the_device(
    name: str, settings: dict[str, float], *, is_trained: bool
) -> None:
    method = method_of(name, is_trained=is_trained, **settings)
    session, losses = session_of(on_meta(method)), EpochLosses({}, 1)
    assert isinstance(session.images.pixels, Tensor)
    assert session.images.pixels.device == META
    with nothing_waits():
        for step in range(2 * EVERY, 2 * EVERY + 3):
            losses.add(_train_step(session, torch.arange(step % 8, step % 8 + 12), step))
    with pytest.raises(NotImplementedError, match="meta"):
        losses.read()


@pytest.mark.parametrize(
    "waiting",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0] > 0),
        lambda x: x.to("cpu"),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.ones(3).to(x.device),
        lambda x: x[torch.arange(2)],
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_what_waits_would_be_seen(waiting: Callable[[Tensor], object]) -> None:
    x = torch.ones(3, device=META)
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), nothing_waits():
        waiting(x)
