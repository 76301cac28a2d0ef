"""What class modules cost: to make, to compose, and beside them a network trained anew.

A network for the same classes is what one would train who has no modules; Pan and Rajan compare
reuse with that. Times differ from run to run, so that they stand beside distributions, in a file of
their own, and not in them: the same network gives the same distributions.

Source:
    Pan and Rajan, *On Decomposing a Deep Neural Network into Modules* (ESEC/FSE 2020) and
    *Decomposing Convolutional Neural Networks into Reusable and Replaceable Modules* (ICSE 2022).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.system.energy import Spent, explained
from modpm.core.training.device import meter_of
from modpm.core.training.effort import THERE_AND_BACK
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.system.energy import Meter

EPOCHS = 30
"""Passes over the training images that training is taken for, where no run has recorded it."""


@dataclass(frozen=True)
class Part:
    """What one piece of work took.

    Attributes:
        seconds: By the clock.
        joules: Of energy, estimated.
        device: Where; several, joined by commas, of a run that went on elsewhere.
        energy_by: What energy is known by.
        is_measured: Whether it was done; otherwise it is reckoned by what a pass takes.
    """

    seconds: float
    joules: float
    device: str
    energy_by: list[str]
    is_measured: bool = True

    def __str__(self) -> str:
        """Say it."""
        return f"{Spent(self.seconds, self.joules)} on {self.device}"


def part_of(meter: Meter) -> Part:
    """Return what was done since a meter was made."""
    spent = meter.read()
    return Part(round(spent.seconds, 3), round(spent.joules, 3), meter.device, meter.energy_by)


class Costs(NamedTuple):
    """What there is to compare.

    Attributes:
        making: To make the class modules of a trained network.
        composing: To compose all of them, from their distributions.
        training: To train a network of all their classes.
        n_classes: How many these are.
        n_epochs: Passes over the training images.
    """

    making: Part
    composing: Part
    training: Part
    n_classes: int
    n_epochs: int

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        parts = {name: asdict(getattr(self, name)) for name in ("making", "composing", "training")}
        return {**parts, "n_classes": self.n_classes, "n_epochs": self.n_epochs}

    def sentences(self) -> list[str]:
        """Return what people compare, and how it is known."""
        share = f"for k of these {self.n_classes} classes about k/{self.n_classes} of it"
        epochs = f"{self.n_epochs} epochs; {share}"
        how = "as its run took" if self.training.is_measured else "reckoned by what a pass takes"
        known = dict.fromkeys(
            explained(part.energy_by, part.device)
            for part in (self.making, self.composing, self.training)
        )
        return [
            f"making the modules took {self.making}",
            f"composing all {self.n_classes} takes {self.composing}",
            f"training a network of the same classes anew takes {self.training}, {how}: {epochs}",
            *known,
        ]


def training_cost(origin: OriginNetwork, making: Part) -> tuple[Part, int]:
    """Return what training a network of these classes takes, and of how many epochs.

    Args:
        origin: The network that was cut.
        making: What that took, for the power of the machine.
    """
    images = origin.trained.images
    recorded = recorded_training(images) if isinstance(images, Run) else None
    if recorded is not None:
        return recorded
    n_passes = THERE_AND_BACK * len(images.training_data()) * EPOCHS
    seconds = n_passes * origin.seconds_a_pass()
    joules = making.joules / max(making.seconds, 1e-9) * seconds
    by = making.energy_by
    return Part(round(seconds, 3), round(joules, 3), making.device, by, is_measured=False), EPOCHS


def recorded_training(run: Run) -> tuple[Part, int] | None:
    """Return what a run recorded of its epochs; None if it has not recorded each."""
    lines = run.metrics()
    if not lines or any("joules" not in line for line in lines):
        return None
    devices = list(dict.fromkeys(line["device"] for line in lines))
    part = Part(
        round(sum(line["seconds"] for line in lines), 3),
        round(sum(line["joules"] for line in lines), 3),
        ", ".join(devices),
        max((line["energy_by"] for line in lines), key=len),
    )
    return part, len(lines)


def measure_costs(origin: OriginNetwork, meter: Meter, folders: Sequence[Path]) -> Costs:
    """Return what class modules cost.

    Args:
        origin: The network that they were cut from.
        meter: Made before anything was.
        folders: Their distributions, each of which is read and composed.
    """
    making = part_of(meter)
    training, n_epochs = training_cost(origin, making)
    composing = meter_of(origin.device)
    compose_modules([ClassModule.from_folder(folder) for folder in folders]).to(origin.device)
    return Costs(making, part_of(composing), training, len(origin.classes), n_epochs)
