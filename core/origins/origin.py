"""The origin: a trained network that class modules are cut from, and what it is worth by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from modpm.core.calibrations.scores import fit_common_platt, stratified_folds
from modpm.core.data import aligned
from modpm.core.errors import ModpmError
from modpm.core.graph import build, count
from modpm.core.origins.unusual import fit_penalty
from modpm.core.slicing import own_convolutions
from modpm.core.training.batches import TrainingImages
from modpm.core.training.checkpoint import network_digest
from modpm.core.training.inference import accuracy, balanced_accuracy, normalizing, predict

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract
    from modpm.core.graph import Cost, Graph, GraphNetwork
    from modpm.core.origins.trained_network import TrainedNetwork
    from modpm.core.origins.unusual import Penalty
    from modpm.core.training.evidence import Evidence
    from modpm.core.training.inference import Progress
    from modpm.core.training.methods.method import Network


TEST = "test"
"""The test split, which decides nothing."""

HELD_OUT = "train, held out"
"""The part of the training data that scores are fitted on."""

N_DIGITS = 6
"""Measured numbers are rounded to so many digits, below what any image could change."""


N_TIMED = 200
"""Images of which a pass is timed."""

ENOUGH_FOR_TWO_NUMBERS = 1000
"""Images, or a little more, on which the slope and the intercept of the logits are fitted."""


_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class OriginNetwork:
    """A trained network that class modules are cut from.

    Attributes:
        trained: Where it comes from.
        device: Where networks run.
        measures_test: Whether the test split is read at all.
    """

    trained: TrainedNetwork
    device: torch.device = _PROCESSOR
    measures_test: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """Its classes, in the order of its outputs."""
        return self.trained.classes

    @property
    def contract(self) -> InputContract:
        """What an image must be."""
        return self.trained.contract

    @cached_property
    def _read(self) -> Network:
        return self.trained.read()

    @property
    def graph(self) -> Graph:
        """What it computes."""
        return self._read[0]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, on the processor."""
        return self._read[1]

    @cached_property
    def network(self) -> GraphNetwork:
        """The network, to be run."""
        return build(self.graph, self.tensors).eval().to(self.device)

    @cached_property
    def kernels(self) -> dict[str, int]:
        """How many kernels each convolution has."""
        return self.graph.kernels()

    @cached_property
    def own_kernels(self) -> dict[str, int]:
        """How many kernels each convolution has that does not follow another."""
        return own_convolutions(self.graph)

    @cached_property
    def cost(self) -> Cost:
        """What it costs."""
        return count(self.graph, self.tensors)

    @cached_property
    def digest(self) -> str:
        """What names it."""
        return network_digest(self.graph, self.tensors)

    @cached_property
    def training_images(self) -> TrainingImages:
        """Its training images, without the held-out part, to be drawn."""
        return TrainingImages(self.trained.images.training_data(), self.contract, self.device)

    @cached_property
    def validation(self) -> ImageData:
        """The held-out part of its training data."""
        return self.trained.images.validation_data()

    @cached_property
    def validation_logits(self) -> Tensor:
        """Its logits for the held-out images; (N, n_classes)."""
        return self.logits(self.validation)

    @cached_property
    def penalty(self) -> Penalty | None:
        """What is taken off scores of images unlike the held-out ones, if these can say it."""
        name = self.graph.free_name("unusual")
        return fit_penalty(self.validation, self.contract, name, self.device)

    @cached_property
    def logit_calibration(self) -> tuple[float, float]:
        """What makes log-odds of the logits of all classes, as numbers that tensors hold."""
        labels = self.validation.labels
        n_folds = max(1, len(labels) // ENOUGH_FOR_TWO_NUMBERS)
        few = (stratified_folds(labels, n_folds) == 0).nonzero()[:, 0]
        pair = fit_common_platt(self.logits(self.validation.select(few)), labels[few])
        slope, intercept = torch.tensor(pair).tolist()
        return slope, intercept

    @cached_property
    def test(self) -> ImageData | None:
        """The test images of its classes; None where there are none or they are not read."""
        if not self.measures_test:
            return None
        try:
            data = aligned(self.trained.images.data(TEST), self.classes)
        except ModpmError as error:
            if error.code != "split-not-found":
                raise
            return None
        return data if len(data) else None

    @cached_property
    def test_logits(self) -> Tensor | None:
        """Its logits for the test images, if there are any; (N, n_classes)."""
        return None if self.test is None else self.logits(self.test)

    @property
    def test_accuracy(self) -> float | None:
        """Its accuracy on the test images, if there are any."""
        return self._on_test(accuracy)

    @property
    def balanced_test_accuracy(self) -> float | None:
        """The mean of it over the classes."""
        return self._on_test(balanced_accuracy)

    def _on_test(self, measure: Callable[[Tensor, Tensor], float]) -> float | None:
        if self.test is None or self.test_logits is None:
            return None
        return round(measure(self.test_logits, self.test.labels), N_DIGITS)

    def logits(self, data: ImageData) -> Tensor:
        """Return its logits for images; (N, n_classes)."""
        return predict(self.network, data.pixels, normalizing(self.contract))

    def seconds_a_pass(self) -> float:
        """Return how long it takes to see an image, of a few of the held-out ones."""
        few = self.validation.select(range(min(N_TIMED, len(self.validation))))
        self.logits(few)  # a first pass takes longer
        started = time.perf_counter()
        self.logits(few)
        return (time.perf_counter() - started) / len(few)

    def evidence(self, progress: Progress | None = None) -> Evidence:
        """Return what says which kernels each class keeps.

        Args:
            progress: Told how many training images are read, where they are.
        """
        return self.trained.effort.find(self.network, self.training_images, progress)
