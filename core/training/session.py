"""One process's part of a training run: steps, epochs and what is written after each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modpm.core.errors import ModpmError
from modpm.core.formats.whole_files import write_file
from modpm.core.graph import GraphNetwork, build
from modpm.core.training.batches import TrainingImages, epoch_order, n_steps, seeded_generator
from modpm.core.training.checkpoint import Checkpoint, encode_checkpoint, read_checkpoint
from modpm.core.training.inference import accuracy, predict_batches
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Losses, Method, Recipe, Task
from modpm.core.training.optimizer import (
    create_optimizer,
    learning_rate,
    momentum_tensors,
    restore_momentum,
    set_learning_rate,
)
from modpm.core.training.run import Run, finish_run
from modpm.core.training.steps import CompiledLoss, EpochLosses, compile_options

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from modpm.core.training.configuration import TrainingConfiguration

_ORDER, _FIRST_PROCESS = 0, 1  # streams of chance within an epoch


class Progress(NamedTuple):
    """How far training is, after a step or an epoch.

    Attributes:
        epoch, n_epochs: The epoch it is in, from 1, and of how many.
        step, n_steps: The step of the epoch that is done, from 1, and of how many.
        loss: Of that step or, where losses stay on the device for a while, the last one that was
            read; of an epoch, the mean.
        metrics: The epoch's, when it is done.
    """

    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    loss: float
    metrics: dict[str, Any] | None = None


Report = Callable[[Progress], None]


def create_method(run: Run, network: GraphNetwork) -> Method:
    """Return the method of a run, with the network that it trains."""
    config = run.config
    task = Task(
        n_classes=len(run.classes),
        retention=config.retention,
        settings=config.settings,
        autocast=torch.bfloat16 if config.precision == "bfloat16" else None,
        is_trained=config.init is not None,
    )
    return run.method(network, task)


def recipe_of(config: TrainingConfiguration) -> Recipe:
    """Return how the steps of a run are taken, but for what its user has said."""
    return find_method(config.method).recipe(is_trained=config.init is not None)


@dataclass(frozen=True)
class Session:
    """What one process works with.

    Attributes:
        run: The run's folder and settings.
        accelerator: Knows the other processes.
        method: What is trained, as this process sees it.
        losses: Gives its losses, its gradients averaged over all processes.
        optimizer: Of its parameters.
        images: The training images.
        epochs_done: Before this session.
    """

    run: Run
    accelerator: Any
    method: Method
    losses: CompiledLoss
    optimizer: Optimizer
    images: TrainingImages
    epochs_done: int

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return n_steps(len(self.images.data), self.run.config.batch_size)


def open_session(run: Run, accelerator: Any) -> Session:  # noqa: ANN401 -- accelerate has no types
    """Go on from a run's last checkpoint.

    Raises:
        ModpmError: The run is damaged, or its data have changed.
    """
    device = accelerator.device
    images = TrainingImages(run.training_data(), run.input, device)
    checkpoint = read_checkpoint(run.checkpoint_path)
    method = create_method(run, build(run.graph, _tensors_of("network.", checkpoint)))
    method.load_state_dict(checkpoint.state)
    # Convolutions on a CPU are twice as fast so.
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = create_optimizer(method, recipe_of(run.config).weight_decay)
    shared, optimizer = accelerator.prepare(method, optimizer)
    restore_momentum(optimizer, method, checkpoint.momentum)
    options = compile_options(device, is_deterministic=run.config.deterministic)
    losses = CompiledLoss(shared, options)
    return Session(run, accelerator, method, losses, optimizer, images, checkpoint.epochs_done)


def _tensors_of(prefix: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.state.items()
        if name.startswith(prefix)
    }


def train_epochs(session: Session, report: Report | None) -> None:
    """Train the epochs that are left, and finish the run.

    Args:
        session: The run, opened.
        report: Called in the main process after each step and each epoch.

    Raises:
        ModpmError: The loss is not finite, or a file cannot be written.
    """
    is_main = session.accelerator.is_main_process
    say = report if report is not None and is_main else _say_nothing
    for epoch in range(session.epochs_done, session.run.config.epochs):
        started = time.perf_counter()
        losses = _train_epoch(session, epoch, say)
        if is_main:
            metrics = {"epoch": epoch + 1, **losses, **_measures(session)}
            metrics["seconds"] = round(time.perf_counter() - started, 3)
            _save(session, metrics)
            say(_progress(session, epoch, session.n_steps, losses["loss"], metrics))
        session.accelerator.wait_for_everyone()
    session.method.before_step(session.images, 1.0)
    if is_main:
        finish_run(session.run, session.method.network.state_dict(), session.method.findings())
    session.accelerator.wait_for_everyone()


def _say_nothing(_progress: Progress) -> None:
    pass


def _progress(
    session: Session,
    epoch: int,
    step: int,
    loss: float,
    metrics: dict[str, Any] | None = None,
) -> Progress:
    return Progress(epoch + 1, session.run.config.epochs, step, session.n_steps, loss, metrics)


def _train_epoch(session: Session, epoch: int, say: Report) -> dict[str, float]:
    """Train one epoch and return its losses, each the mean over the steps that had it."""
    config, accelerator = session.run.config, session.accelerator
    order = epoch_order(
        len(session.images.data), config.batch_size, seeded_generator(config.seed, epoch, _ORDER)
    )
    chance = seeded_generator(config.seed, epoch, _FIRST_PROCESS + accelerator.process_index)
    torch.manual_seed(chance.initial_seed())  # what dropout draws from
    session.method.train()
    losses = EpochLosses()
    for index, positions in enumerate(order):
        mine = positions[accelerator.process_index :: accelerator.num_processes]
        losses.add(_train_step(session, mine, chance, epoch * session.n_steps + index))
        _check_finite(session.run, losses, epoch)
        say(_progress(session, epoch, index + 1, losses.last))
    losses.read()
    _check_finite(session.run, losses, epoch)
    return losses.means(lambda total: accelerator.reduce(total, "mean"))


def _train_step(session: Session, positions: Tensor, chance: torch.Generator, step: int) -> Losses:
    """Train one step on the images at some positions; step counts from the run's first."""
    n_total, method = session.n_steps * session.run.config.epochs, session.method
    config = session.run.config
    rate = learning_rate(step, n_total, config.lr, recipe_of(config).warm_up)
    set_learning_rate(session.optimizer, rate)
    method.before_step(session.images, step / n_total)
    inputs = method.draw(session.images.batch(positions, chance), chance)
    device = session.accelerator.device
    losses = session.losses(*(x.to(device, non_blocking=True) for x in inputs))
    session.optimizer.zero_grad()
    session.accelerator.backward(losses["loss"])
    session.optimizer.step()
    method.after_step(step / n_total, (step + 1) / n_total)
    # Copies: the next step of a captured program overwrites what this one gave.
    return {name: loss.detach().clone() for name, loss in losses.items()}


def _check_finite(run: Run, losses: EpochLosses, epoch: int) -> None:
    if losses.not_finite is None:
        return
    raise ModpmError(
        "the loss is not finite",
        code="loss-not-finite",
        where=f"{run.folder}, epoch {epoch + 1}, step {losses.not_finite.step}",
        why=", ".join(f"{name} {loss}" for name, loss in losses.not_finite.losses.items()),
        hint=f"train in another folder with a lower --lr than {run.config.lr}; "
        f"the state after epoch {epoch} is kept in {run.checkpoint_path.name}",
    )


def _measures(session: Session) -> dict[str, float]:
    """Return the accuracy on held-out images, and what else the method measures."""
    run, method = session.run, session.method
    validation = run.validation_data()
    outputs = predict_batches(method.network, validation.images, run.input)
    measures = method.measures(TrainingImages(validation, run.input))
    return {"val_accuracy": accuracy(outputs, validation.labels), **measures}


def _save(session: Session, metrics: dict[str, Any]) -> None:
    """Write an epoch's metrics, and then the checkpoint that makes the epoch count."""
    run = session.run
    lines = [*run.metrics()[: metrics["epoch"] - 1], metrics]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_file(run.metrics_path, text.encode())
    momentum = momentum_tensors(session.optimizer, session.method)
    state = session.method.state_dict()
    write_file(
        run.checkpoint_path, encode_checkpoint(Checkpoint(metrics["epoch"], state, momentum))
    )
