"""Effort: how kernels are found in a network that was trained already, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.slicing import own_kernels
from modpm.core.training.evidence import Evidence, Sensitivity
from modpm.core.training.learned_masks import N_STEPS, LearnedMasks
from modpm.core.training.one_vs_rest import N_IMAGES
from modpm.core.training.sensitivity import N_EACH, sensitivity_of_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.inference import Progress

    Find = Callable[[GraphNetwork, TrainingImages, Progress | None], Evidence]


@dataclass(frozen=True)
class Effort:
    """A way to find which kernels each class keeps.

    Attributes:
        method: What manifests call it.
        evidence_type: What it finds.
        find: Finds it, given the network in evaluation mode and its training images, and told how
            far it is.
        retention: Kernel retention rate that it is for, where nothing is asked for.
        n_images: Images that it reads for each class, once there and back.
        parameters: What manifests say of it besides.
        correction_steps: Steps by which each class's cut network learns what to make of the values
            that it normalizes; 0 for none.
    """

    method: str
    evidence_type: type[Evidence]
    find: Find
    retention: float
    n_images: int = 0
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    correction_steps: int = 0

    def passes(self, n_classes: int) -> int:
        """Return as many passes of one image through the network as it takes about as long as."""
        return THERE_AND_BACK * n_classes * self.n_images


THERE_AND_BACK = 3
"""Passes that one with gradients takes as long as."""


def passes_to_train(n_images: int, epochs: int = 30) -> int:
    """Return the same of training with views from trained weights, which see images three times."""
    return THERE_AND_BACK * 3 * n_images * epochs


def _sensitivity(
    network: GraphNetwork, images: TrainingImages, progress: Progress | None
) -> Evidence:
    n_all = own_kernels(network.graph)
    return Sensitivity(sensitivity_of_kernels(network, images, progress), n_all)


def _learned(network: GraphNetwork, images: TrainingImages, progress: Progress | None) -> Evidence:
    n_all = own_kernels(network.graph)
    start = sensitivity_of_kernels(network, images)
    return LearnedMasks(network, images, start, n_all, progress)


NONE = "none"
GRADIENT = "gradient"
AUTO = "auto"
TRAIN = "train"
"""Trains the weights, so that its run knows which kernels a class keeps."""

N_CORRECTION_STEPS = 1000
"""Steps by which a cut network of the effort `gradient` is corrected."""

EFFORTS = {
    NONE: Effort(
        "sensitivity",
        Sensitivity,
        _sensitivity,
        0.75,
        2 * N_EACH,
        {"images_a_class": float(2 * N_EACH)},
    ),
    GRADIENT: Effort(
        "gradient",
        LearnedMasks,
        _learned,
        0.5,
        2 * N_EACH + (N_STEPS + N_CORRECTION_STEPS) * N_IMAGES,
        {"images_a_class": float(2 * N_EACH), "steps": float(N_STEPS), "images": float(N_IMAGES)},
        N_CORRECTION_STEPS,
    ),
}
"""By what a user calls them, the least effort first: the weights stay as they are in all."""


def find_effort(name: str) -> Effort:
    """Return a way to find kernels.

    Raises:
        ModpmError: There is none of that name (`bad-setting`).
    """
    if name not in EFFORTS:
        raise ModpmError(
            f"no effort is called `{name}`",
            code="bad-setting",
            hint=f"take one of {', '.join(EFFORTS)} and {AUTO}, or {TRAIN} for a file of weights",
            exit_code=2,
        )
    return EFFORTS[name]
