"""How fast methods train and networks are cut, against plain work of the same network.

Steps: a step of each method and a plain step of the same network take turns, each from drawing
its images to its constraint on the weights, as they are and, where training compiles them,
compiled; the ratio of each pair is of seconds an image seen, since views see images more than
once. Modularizing: `modpm.modularize` of a run against a plain evaluation pass over its training
images, once measured on what was held out, and once as it is by default, which reads the test
split too, with the origin and with every module. The first step: a whole process from its start
until a step is trained, first with nothing kept and then again.

Usage:
    python benchmarks/speed.py step --archs resnet20,small_vgg --methods views,mwt
    python benchmarks/speed.py modularize RUN
    python benchmarks/speed.py first-step DATA
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import modpm
from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.system.memory import keep_freed_memory
from modpm.core.tensors import send
from modpm.core.training.batches import TrainingImages
from modpm.core.training.device import AUTO, DEVICES, arithmetic, choose_device
from modpm.core.training.inference import normalizing, predict
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Task
from modpm.core.training.optimizer import Descent
from modpm.core.training.run import Run
from modpm.core.training.steps import CompiledLoss, compile_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.training.methods.method import Method

CLASSES = tuple(f"class {i}" for i in range(10))
N_IMAGES = 1000
WARM_UP = 5


def some_images(device: torch.device) -> TrainingImages:
    """Return random images of the size of CIFAR-10's."""
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N_IMAGES, 3, 32, 32), generator=chance, dtype=torch.uint8)
    data = ImageData(images, torch.arange(N_IMAGES) % len(CLASSES), CLASSES, "random", "train")
    contract = InputContract(channels=3, height=32, width=32, mean=[0.5] * 3, std=[0.25] * 3)
    return TrainingImages(data, contract, device)


def precision_of(options: argparse.Namespace, device: torch.device) -> str:
    """Return the precision that is asked for, or that training takes on a device."""
    if options.precision != "auto":
        return str(options.precision)
    return "float32" if device.type == "cpu" else "bfloat16"


def new_method(name: str, arch: str, precision: str, device: torch.device) -> Method:
    """Return a method in the midst of training a network."""
    kind = find_method(name)
    autocast = torch.bfloat16 if precision == "bfloat16" else None
    task = Task(len(CLASSES), 0.32, kind.settings, autocast)
    network = trace(create(arch, len(CLASSES)), torch.zeros(2, 3, 32, 32))
    method = kind(build(*kind.prepare(*network, torch.Generator().manual_seed(0))), task)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    method.to(device).train()
    if method.is_to_look(0.5):
        method.look(some_images(device))
    return method


def stepper(
    name: str, arch: str, options: argparse.Namespace, compiled: dict[str, Any] | None = None
) -> Callable[[], tuple[float, int]]:
    """Return a function that trains some steps, and returns their seconds and the images seen."""
    torch.manual_seed(0)
    device = choose_device(options.device)
    method = new_method(name, arch, precision_of(options, device), device)
    losses = CompiledLoss(method, compiled)
    optimizer = Descent(method, 5e-4)
    optimizer.rate = 1e-3
    images, chance = some_images(device), torch.Generator().manual_seed(1)

    def step() -> int:
        positions = torch.randint(N_IMAGES, (options.batch_size,), generator=chance)
        inputs = method.draw(images.batch(positions, chance), chance)
        loss = losses(*(send(x, device) for x in inputs))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(0.5, 0.5)
        return len(inputs[0])

    def several() -> tuple[float, int]:
        started = now(options, device)
        n_seen = sum(step() for _ in range(options.steps))
        return now(options, device) - started, n_seen

    return several


def now(options: argparse.Namespace, device: torch.device) -> float:
    """Return the time when the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.process_time() if options.clock == "processor" else time.perf_counter()


def name_of(device: torch.device) -> str:
    """Return what a device is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def compare_steps(options: argparse.Namespace) -> None:
    """Print what a step of each method takes, and its ratio to a plain one an image seen."""
    device = choose_device(options.device)
    compiled = compile_options(device, is_deterministic=False)
    ways = [None] if compiled is None else [None, compiled]
    with arithmetic(device, is_deterministic=False):
        for arch, way in itertools.product(options.archs, ways):
            plain = stepper("plain", arch, options, way)
            for name in options.methods:
                step = stepper(name, arch, options, way)
                pairs = [(plain(), step()) for _ in range(WARM_UP + options.n)][WARM_UP:]
                how = "as it is" if way is None else "compiled"
                print(f"{arch}, {name}, {how}, {row(pairs, options, device)}", flush=True)


def row(
    pairs: Sequence[tuple[tuple[float, int], tuple[float, int]]],
    options: argparse.Namespace,
    device: torch.device,
) -> str:
    """Say what steps took: of each pair the plain ones, and those of a method."""
    each = [seconds / seen for _, (seconds, seen) in pairs]
    plain_each = [seconds / seen for (seconds, seen), _ in pairs]
    ratios = [one / other for one, other in zip(each, plain_each, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    a_step = 1000 * statistics.median(seconds for _, (seconds, _) in pairs) / options.steps
    return (
        f"{name_of(device)}, batch {options.batch_size}, {precision_of(options, device)}, "
        f"{options.clock} time, n = {options.n} of {options.steps}: "
        f"{a_step:.1f} ms a step, {1000 / a_step:.1f} steps and "
        f"{1 / statistics.median(each):.0f} images a second, plain "
        f"{1 / statistics.median(plain_each):.0f}; ratio an image seen {median:.3f} "
        f"(quartiles {low:.3f} to {high:.3f})"
    )


def modularize_once(run: Run, device: str, *, measure_on: str) -> None:
    """Modularize a run, and throw the result away."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "modules"
        modpm.modularize(run, output=output, measure_on=measure_on, device=device)


def compare_modularize(options: argparse.Namespace) -> None:
    """Print the time of modularizing in evaluation passes over the training images."""
    run, device = Run.open(options.run), choose_device(options.device)
    images, prepare = run.training_data().images, normalizing(run.input)
    network = build(*run.network()).to(device)
    jobs: dict[str, Callable[[], object]] = {
        "pass": partial(predict, network, images, prepare),
        "held-out images": partial(modularize_once, run, device.type, measure_on="held-out"),
        "and the test split": partial(modularize_once, run, device.type, measure_on="test"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    processor: dict[str, list[float]] = {name: [] for name in jobs}
    for _, (name, job) in itertools.product(range(options.n), jobs.items()):
        started, used = time.perf_counter(), time.process_time()
        job()
        seconds[name].append(time.perf_counter() - started)
        processor[name].append(time.process_time() - used)
    one, *cuts = jobs
    print(
        f"{options.run}: {len(images)} images, {name_of(device)}, n = {options.n}: evaluation pass "
        f"{statistics.median(seconds[one]):.1f} s, {statistics.median(processor[one]):.1f} of a "
        "processor"
    )
    for name in cuts:
        print(
            f"modularize, {name}: {statistics.median(seconds[name]):.1f} s, ratio "
            f"{_ratio(seconds[name], seconds[one])}; processors' "
            f"{_ratio(processor[name], processor[one])}"
        )


def _ratio(these: list[float], those: list[float]) -> str:
    """Return the median of the ratio of each pair, and its quartiles."""
    ratios = [this / that for this, that in zip(these, those, strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{median:.2f} (quartiles {low:.2f} to {high:.2f})"


FIRST_STEP = """
import os, sys
import modpm
def stop(_progress):
    used = os.times()
    print(used.user + used.system, flush=True)
    os._exit(0)
modpm.train(sys.argv[1], output=sys.argv[2], progress=stop)
"""


def first_step(data: str, home: Path) -> tuple[float, float]:
    """Start a process that trains one step; return its seconds, and those of processors."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", FIRST_STEP, data, str(Path(folder) / "run")],
            env=os.environ | {"MODPM_HOME": str(home)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return time.perf_counter() - started, float(done.stdout)


def compare_first_steps(options: argparse.Namespace) -> None:
    """Print how long a process takes until its first step, at its first start and at others."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / str(i) for i in range(options.n)]
        starts = [[first_step(options.data, home) for home in homes] for _ in range(2)]
    for name, some in zip(("first", "second"), starts, strict=True):
        wall, used = ([one[i] for one in some] for i in range(2))
        print(
            f"{options.data}, {name} start, n = {options.n}: first step after "
            f"{statistics.median(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f}), "
            f"{statistics.median(used):.2f} s of processors ({min(used):.2f} to {max(used):.2f})"
        )


def _names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    """Read the command line and measure."""
    keep_freed_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    step = commands.add_parser("step")
    step.add_argument("--archs", type=_names, default=["resnet20"])
    step.add_argument("--methods", type=_names, default=["views", "mwt"])
    step.add_argument("--batch-size", type=int, default=128)
    step.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    step.add_argument("--device", choices=DEVICES, default="auto")
    step.add_argument("--clock", choices=["wall", "processor"], default="wall")
    step.add_argument("--steps", type=int, default=1, help="between two looks at the clock")
    step.add_argument("-n", type=int, default=30)
    step.set_defaults(measure=compare_steps)
    modularize = commands.add_parser("modularize")
    modularize.add_argument("run", type=Path)
    modularize.add_argument("--device", choices=DEVICES, default=AUTO)
    modularize.add_argument("-n", type=int, default=3)
    modularize.set_defaults(measure=compare_modularize)
    first = commands.add_parser("first-step")
    first.add_argument("data")
    first.add_argument("-n", type=int, default=5)
    first.set_defaults(measure=compare_first_steps)
    options = parser.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
