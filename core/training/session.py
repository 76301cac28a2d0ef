"""One process's part of a training run: steps, epochs and what is written meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modpm.core.data.image_data import N_TO_ONE, imbalance
from modpm.core.errors import ModpmError
from modpm.core.graph import GraphNetwork, build
from modpm.core.system.energy import NOTHING, Spent
from modpm.core.system.whole_files import write_file
from modpm.core.tensors import send
from modpm.core.training.batches import TrainingImages, epoch_order, seeded_generator
from modpm.core.training.best_epoch import BestEpoch
from modpm.core.training.checkpoint import Checkpoint, CheckpointWriter, LossSum, read_checkpoint
from modpm.core.training.device import meter_of
from modpm.core.training.inference import normalizing, predict
from modpm.core.training.methods.method import Losses, Method, Recipe, Task
from modpm.core.training.open_set import find_open_set
from modpm.core.training.open_set.open_set import checked_epoch
from modpm.core.training.optimizer import (
    Descent,
    learning_rate,
    momentum_tensors,
    restore_momentum,
)
from modpm.core.training.run import Run, finish_run
from modpm.core.training.starting_network import freeze
from modpm.core.training.steps import CompiledLoss, EpochLosses, compile_options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modpm.core.data import ImageData
    from modpm.core.system.energy import Meter

_ORDER, _FIRST_PROCESS = 0, 2  # streams of chance: of an epoch's order, and of a step


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
        is_trained=config.is_trained and not run.record.has_new_head,
        label_smoothing=config.label_smoothing,
        open_set=find_open_set(config.open_set)(network),
    )
    return run.method(network, task)


def recipe_of(run: Run) -> Recipe:
    """Return how the steps of a run are taken, but for what its user has said."""
    return run.method.recipe(is_trained=run.config.is_trained)


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
        steps_done: Of the run, before this session.
        sums: The losses of those of them that are of an epoch which is not done.
        spent: What these took.
    """

    run: Run
    accelerator: Any
    method: Method
    losses: CompiledLoss
    optimizer: Descent
    images: TrainingImages
    steps_done: int
    sums: Mapping[str, LossSum]
    spent: Spent


def open_session(run: Run, accelerator: Any) -> Session:  # noqa: ANN401 -- accelerate has no types
    """Go on from a run's last checkpoint.

    Raises:
        ModpmError: The run is damaged, or its data have changed.
    """
    device = accelerator.device
    config = run.config
    kinds = tuple(config.augment)
    images = TrainingImages(run.training_data(), run.input, device, kinds, config.flip)
    start = read_checkpoint(run.start_path)
    network = build(run.graph, _tensors_of("network.", start))
    freeze(network, run.record.frozen)
    method = create_method(run, network)
    checkpoint = read_checkpoint(run.checkpoint_path) if run.checkpoint_path.exists() else start
    method.load_state_dict(checkpoint.state)
    # Convolutions on a CPU are twice as fast so.
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    method.to(device)
    optimizer = Descent(method, recipe_of(run).weight_decay)
    shared: nn.Module = method
    if accelerator.num_processes > 1:
        shared = accelerator.prepare(method)
        shared.broadcast_buffers = False  # type: ignore[assignment]  # see `_tell_buffers`
    restore_momentum(optimizer, method, checkpoint.momentum)
    options = compile_options(device, is_deterministic=config.deterministic)
    losses = CompiledLoss(shared, options)
    done = checkpoint.steps_done, checkpoint.sums, checkpoint.spent
    return Session(run, accelerator, method, losses, optimizer, images, *done)


def _tensors_of(prefix: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.state.items()
        if name.startswith(prefix)
    }


def kept_state(run: Run) -> str:
    """Say how far a run was when the state was kept that it would go on from."""
    path = run.checkpoint_path
    epochs, steps = divmod(read_checkpoint(path).steps_done if path.exists() else 0, run.n_steps)
    return f"{epochs} of {run.config.epochs} epochs{f' and {steps} steps' if steps else ''}"


def train_epochs(session: Session, report: Report | None) -> None:
    """Train the epochs that are left, and finish the run.

    Args:
        session: The run, opened.
        report: Called in the main process after each step and each epoch.

    Raises:
        ModpmError: The loss is not finite, or a file cannot be written.
    """
    run, is_main = session.run, session.accelerator.is_main_process
    say = report if report is not None and is_main else _say_nothing
    keeps_best = run.config.keep_best or run.config.patience is not None
    best, epoch = BestEpoch.of(run), session.steps_done // run.n_steps
    with CheckpointWriter(run.checkpoint_path) as writer:
        while epoch < run.config.epochs and not (keeps_best and best.is_long_ago(epoch)):
            accuracy = _train_epoch(session, epoch, writer, say)
            epoch += 1
            if keeps_best and session.method.is_settled(epoch / run.config.epochs):
                _meet(session, best, epoch, accuracy)
        writer.finish()
    if keeps_best and best.epoch:
        epoch = best.epoch
        session.method.load_state_dict(best.state())
    _look(session, 1.0)
    if is_main:
        tensors, findings = session.method.network.state_dict(), session.method.findings()
        finish_run(run, epoch, tensors, findings)
    session.accelerator.wait_for_everyone()


def _meet(session: Session, best: BestEpoch, epoch: int, accuracy: float) -> None:
    """Keep the state after an epoch if it is the best so far."""
    if best.meet(epoch, accuracy) and session.accelerator.is_main_process:
        best.keep(session.method.state_dict())
    session.accelerator.wait_for_everyone()


def _say_nothing(_progress: Progress) -> None:
    pass


def _train_epoch(session: Session, epoch: int, writer: CheckpointWriter, say: Report) -> float:
    """Train what is left of an epoch, and write what it has come to; return its accuracy."""
    run, is_main = session.run, session.accelerator.is_main_process
    first = max(session.steps_done - epoch * run.n_steps, 0)
    sums, before = (session.sums, session.spent) if first else ({}, NOTHING)
    losses = EpochLosses(sums, first, lambda mine: session.accelerator.gather(mine[None]))
    meter = meter_of(session.accelerator.device, session.accelerator.num_processes)
    order = seeded_generator(run.config.seed, epoch, _ORDER)
    labels = session.images.data.labels if run.config.balance else None
    batches = epoch_order(run.record.n_training, run.config.batch_size, order, labels)
    session.method.train()
    session.images.expect(_mine(session, positions) for positions in batches[first:])
    for step, positions in enumerate(batches[first:], first + 1):
        done = epoch * run.n_steps + step
        losses.add(_train_step(session, positions, done - 1))
        writer.check()
        _check_finite(run, losses, epoch)
        say(Progress(epoch + 1, run.config.epochs, step, run.n_steps, losses.last))
        # Elsewhere the losses would have to be waited for; an epoch counts with its metrics.
        if is_main and losses.is_read and step < run.n_steps and writer.is_due():
            spent = before.and_also(meter.read())
            writer.begin(_checkpoint(session, done, losses.sums, spent))
    losses.read()
    _check_finite(run, losses, epoch)
    metrics = {"epoch": epoch + 1, **losses.means(), **_measures(session)}
    _check_open_set(session, metrics, epoch)
    if is_main:
        metrics |= _costs(meter, before)
        _write_metrics(run, metrics)
        if writer.is_due():
            writer.begin(_checkpoint(session, (epoch + 1) * run.n_steps))
        mean = metrics["loss"]
        say(Progress(epoch + 1, run.config.epochs, run.n_steps, run.n_steps, mean, metrics))
    session.accelerator.wait_for_everyone()
    return metrics["val_accuracy"]


def _costs(meter: Meter, before: Spent) -> dict[str, Any]:
    """Return what an epoch took, and where."""
    spent = before.and_also(meter.read())
    return {
        "seconds": round(spent.seconds, 3),
        "joules": round(spent.joules, 3),
        "device": meter.device,
        "energy_by": meter.energy_by,
    }


def _train_step(session: Session, positions: Tensor, step: int) -> Losses:
    """Train one step on the images at some positions; step counts from the run's first."""
    run, method, accelerator = session.run, session.method, session.accelerator
    config, n_total = run.config, run.n_steps * run.config.epochs
    process = accelerator.process_index
    chance = seeded_generator(config.seed, step, _FIRST_PROCESS + process)
    torch.manual_seed(chance.initial_seed())  # what dropout draws from
    warm_up = recipe_of(run).warm_up
    session.optimizer.rate = learning_rate(step, n_total, config.lr, warm_up)
    _look(session, step / n_total)
    batch = session.images.batch(_mine(session, positions), chance)
    inputs = (*method.draw(batch, chance), *method.open_set.draw(batch))
    losses = session.losses(*(send(x, accelerator.device) for x in inputs))
    session.optimizer.zero_grad()
    accelerator.backward(losses["loss"])
    session.optimizer.step()
    method.after_step(step / n_total, (step + 1) / n_total)
    return losses


def _mine(session: Session, positions: Tensor) -> Tensor:
    """Return this process's share of the positions of a batch."""
    return positions[session.accelerator.process_index :: session.accelerator.num_processes]


def _look(session: Session, progress: float) -> None:
    """Let the method look at images if it has to: in the main process, which tells the others."""
    if session.method.is_to_look(progress):
        if session.accelerator.is_main_process:
            session.method.look(session.images)
        _tell_buffers(session)


def _tell_buffers(session: Session) -> None:
    """Give all processes the main one's buffers, such as running statistics.

    No step of training reads those, so that they are told where they are read.
    """
    if session.accelerator.num_processes > 1:
        buffers = dict(session.method.named_buffers())
        for buffer in buffers.values():
            torch.distributed.broadcast(buffer, src=0)
        session.method.load_state_dict(buffers, strict=False)  # what it knows of them is old


def _check_finite(run: Run, losses: EpochLosses, epoch: int) -> None:
    if losses.not_finite is None:
        return
    raise ModpmError(
        "the loss is not finite",
        code="loss-not-finite",
        where=f"{run.folder}, epoch {epoch + 1}, step {losses.not_finite.step}",
        why=", ".join(f"{name} {loss}" for name, loss in losses.not_finite.losses.items()),
        hint=f"train in another folder with a lower --lr than {run.config.lr}",
    )


def _check_open_set(session: Session, measured: Mapping[str, float], epoch: int) -> None:
    """Check, once in a run, that what else the network is trained for can be learned."""
    run = session.run
    if epoch + 1 == checked_epoch(run.config.epochs, run.n_steps):
        where = f"{run.folder}, epoch {epoch + 1}"
        session.method.open_set.check_measures(measured, run.record.n_validation, where)


def _checkpoint(
    session: Session,
    steps_done: int,
    sums: Mapping[str, LossSum] | None = None,
    spent: Spent = NOTHING,
) -> Checkpoint:
    """Return the state of this moment, which the next step changes."""
    momentum = momentum_tensors(session.optimizer, session.method)
    state = session.method.state_dict()
    return Checkpoint(steps_done, state, momentum, dict(sums or {}), spent)


def _measures(session: Session) -> dict[str, float]:
    """Return the accuracy on held-out images, and what else the method measures.

    Each process reads a share of the images.
    """
    run, method, accelerator = session.run, session.method, session.accelerator
    _tell_buffers(session)
    mine = _share(run.validation_data(), accelerator.process_index, accelerator.num_processes)
    held_out = TrainingImages(mine, run.input, accelerator.device)
    prepare, precision = normalizing(run.input), method.task.autocast
    outputs = predict(method.network, mine.pixels, prepare, precision=precision)

    def total(numbers: Tensor) -> Tensor:
        added: Tensor = accelerator.reduce(numbers.to(accelerator.device), "sum")
        return added.cpu()

    n_classes = len(mine.classes)
    right = mine.labels[outputs.argmax(dim=1) == mine.labels]
    n_right = total(torch.bincount(right, minlength=n_classes)).tolist()
    n_all = total(torch.bincount(mine.labels, minlength=n_classes)).tolist()
    measured = {"val_accuracy": sum(n_right) / sum(n_all), **method.measures(held_out, total)}
    measured |= method.open_set.measures(method, held_out, total)
    if imbalance(run.training_data().counts()) >= N_TO_ONE:
        recalls = [right / n for right, n in zip(n_right, n_all, strict=True) if n]
        measured["val_balanced_accuracy"] = fmean(recalls)
    return measured


def _share(data: ImageData, index: int, n_processes: int) -> ImageData:
    """Return one process's share of images; all of them where there are too few to share."""
    if len(data) < n_processes:
        return data
    return data.select(range(index, len(data), n_processes))


def _write_metrics(run: Run, metrics: dict[str, Any]) -> None:
    """Write an epoch's line after those of the epochs before it."""
    lines = [*run.metrics()[: metrics["epoch"] - 1], metrics]
    write_file(run.metrics_path, "".join(json.dumps(line) + "\n" for line in lines).encode())
