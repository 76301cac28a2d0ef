"""Training first: a network of weights on disk becomes modular, by `views`, and is a run then."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.origins.trained_network import Particulars, of_run
from modpm.core.training.configuration import DEFAULT_RETENTION
from modpm.core.training.loop import train
from modpm.core.training.methods import DEFAULT_METHOD

if TYPE_CHECKING:
    from collections.abc import Callable

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
