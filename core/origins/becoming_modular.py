"""Training first: a network of weights on disk becomes modular, by `views`, and is a run then."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.data import GivenImages
from modpm.core.errors import ModpmError
from modpm.core.networks import ARCHITECTURES
from modpm.core.origins.trained_network import Particulars, of_run
from modpm.core.training.configuration import DEFAULT_RETENTION
from modpm.core.training.loop import train
from modpm.core.training.methods import DEFAULT_METHOD
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.origins.trained_network import TrainedNetwork
    from modpm.core.training.session import Progress as TrainingProgress


def run_beside(output: Path) -> Path:
    """Return the folder of the run that distributions are made from."""
    return output.with_name(f"{output.name}.run")


def check_can_be_trained(network: object, said: Particulars) -> None:
    """Check that weights are on disk, and in the order of their data's classes, as training reads.

    Raises:
        ModpmError: They are not (`bad-setting`).
    """
    if not isinstance(network, str | Path) or Path(network).is_dir():
        raise ModpmError(
            "`--effort train` starts from a file of weights",
            code="bad-setting",
            hint="save them first; of a run, start another with `train --init`",
            exit_code=2,
        )
    if said.classes is not None:
        raise ModpmError(
            "`--effort train` takes the classes in the order of the data",
            code="bad-setting",
            hint="leave out `--classes`: training gives the network that order",
            exit_code=2,
        )


def command_to_train(
    network: object, said: Particulars, output: Path, retention: float | None
) -> str:
    """Return the command that trains a network to be cut, and cuts it, or how to come to one.

    Args:
        network: As `modularize` takes it.
        said: What else a user has said of it.
        output: The folder for the distributions.
        retention: Kernel retention rate of the modules; None for what training takes by itself.
    """
    size = () if retention is None else ("--retention", f"{retention:g}")
    is_named = not isinstance(said.data, GivenImages)
    if isinstance(network, str | Path) and not Path(network).is_dir() and is_named:
        words = ["modularize", str(network), *_options(said), "--effort", "train", *size]
        return f"`{shlex.join(['modpm', *words, '-o', str(output)])}`"
    if isinstance(network, Run) or (isinstance(network, str | Path) and Path(network).is_dir()):
        run = network if isinstance(network, Run) else Run.open(network)
        config, numbers = run.config, _numbers(run.input.mean, run.input.std)
        if config.arch not in ARCHITECTURES and ":" not in config.arch:
            return f"`modpm.train` again, of the {config.arch} in memory, with that `retention`"
        data, arch, weights, folder, distributions = (
            shlex.quote(str(one))
            for one in (
                run.source,
                config.arch,
                run.folder / "model.safetensors",
                run_beside(output),
                output,
            )
        )
        run_with_rest = f"{folder} {shlex.join([*_width(config.width), *numbers, *size])}"
        return (
            f"`modpm train {data} --arch {arch} --init {weights} -o {run_with_rest}` and "
            f"`modpm modularize {folder} -o {distributions}`"
        )
    return "`modpm modularize WEIGHTS --effort train -o DIST`, of a file of its weights"


def _options(said: Particulars) -> list[str]:
    """Return the options that say the same; the order of classes is what training makes it."""
    options = ["--data", str(said.data), "--arch", said.arch or ""]
    options += [*_width(said.width), *_numbers(said.mean or (), said.std or ())]
    if said.image_size is not None:
        sides = [said.image_size] if isinstance(said.image_size, int) else said.image_size
        options += ["--image-size", "x".join(map(str, sides))]
    nothing = Particulars()
    for name in ("val_fraction", "seed"):
        if getattr(said, name) != getattr(nothing, name):
            options += [f"--{name.replace('_', '-')}", f"{getattr(said, name):g}"]
    return [*options, *(["--skip-bad"] if said.skip_bad else [])]


def _width(width: float) -> list[str]:
    return [] if width == 1 else ["--width", f"{width:g}"]


def _numbers(mean: Sequence[float], std: Sequence[float]) -> list[str]:
    said = [",".join(f"{number:.6g}" for number in numbers) for numbers in (mean, std)]
    return [f"--mean={said[0]}", f"--std={said[1]}"]


def become_modular(
    weights: Path | str,
    said: Particulars,
    folder: Path,
    *,
    retention: float | None,
    epochs: int,
    device: str,
    progress: Callable[[str, int, int], None],
    report: Callable[[str], None],
) -> TrainedNetwork:
    """Train weights to be cut, or go on with the run that does, and return what they are then.

    Args:
        weights: A file of ordinary weights.
        said: What else there is to know of them.
        folder: Of the run, which stays.
        retention: Kernel retention rate of the modules.
        epochs: Passes over the training data.
        device: Where networks run.
        progress: Told how far it is.
        report: Is told what was done to the images, in sentences.

    Raises:
        ModpmError: As `train`.
    """

    def tell(how_far: TrainingProgress) -> None:
        done = (how_far.epoch - 1) * how_far.n_steps + how_far.step
        progress("training", done, how_far.n_epochs * how_far.n_steps)

    run = train(
        said.data or "",
        said.arch or "",
        output=folder,
        width=said.width,
        init=weights,
        epochs=epochs,
        seed=said.seed,
        val_fraction=said.val_fraction,
        method=DEFAULT_METHOD,
        device=device,
        retention=DEFAULT_RETENTION if retention is None else retention,
        skip_bad=said.skip_bad,
        mean=None if said.mean is None else list(said.mean),
        std=None if said.std is None else list(said.std),
        image_size=said.image_size,
        resume=(folder / "run.json").is_file(),
        progress=tell,
        report=report,
    )
    return of_run(run, Particulars(), None)
