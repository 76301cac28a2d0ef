"""What a method of training is: what it adds to a network, minimizes, and says of kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modpm.core.errors import ModpmError
from modpm.core.training.open_set.open_set import OpenSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import Batch, TrainingImages
    from modpm.core.training.evidence import Evidence

Losses = dict[str, Tensor]
"""Each part by its name, and the sum that is minimized as `loss`."""

Network = tuple["Graph", dict[str, Tensor]]
"""A graph and its tensors."""


class Recipe(NamedTuple):
    """How steps are taken, where the user does not say.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Of every parameter.
        warm_up: Share of the steps in which the rate rises to its peak.
    """

    lr: float
    weight_decay: float
    warm_up: float


@dataclass(frozen=True)
class Task:
    """What a method trains for.

    Attributes:
        n_classes: Of the network.
        retention: Kernel retention rate of the modules that are wanted.
        settings: The method's own, all of them.
        autocast: The type of convolutions and products; None for that of the weights.
        is_trained: Whether the network starts from weights that were trained for these classes.
        label_smoothing: Share of the target that all classes share.
        open_set: What else the network is trained for, to tell unknown images.
    """

    n_classes: int
    retention: float
    settings: Mapping[str, float] = field(default_factory=dict)
    autocast: torch.dtype | None = None
    is_trained: bool = False
    label_smoothing: float = 0.0
    open_set: OpenSet = field(default_factory=OpenSet)


class Method(nn.Module, ABC):
    """A method of training: made for one run, with the network that it trains.

    Its state dict, the network's tensors included, is what a checkpoint keeps: what a method
    knows between steps it keeps in buffers and parameters. A run that goes on makes it of the
    network before training, too, and then loads that. Of several processes the first one's buffers
    count: the others are told them when it has looked at images, and after an epoch.

    Args:
        network: What is trained: of the graph and the tensors that `prepare` returned.
        task: What for.

    Attributes:
        settings: Names and defaults of what a user can set, all of them numbers, 0 or more.
        open_set: The task's, whose parameters are trained with the network's.
    """

    settings: ClassVar[Mapping[str, float]] = {}

    def __init__(self, network: GraphNetwork, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.open_set = task.open_set

    @classmethod
    def recipe(cls, *, is_trained: bool) -> Recipe:
        """Return how steps are taken, in a run from trained weights or from scratch."""
        return Recipe(lr=0.02 if is_trained else 0.1, weight_decay=5e-4, warm_up=0.15)

    @classmethod
    def prepare(
        cls,
        graph: Graph,
        tensors: dict[str, Tensor],
        generator: torch.Generator,  # noqa: ARG003 -- for methods that draw weights
    ) -> Network:
        """Return the network with what the method adds to it.

        Args:
            graph: The network as its architecture has it.
            tensors: Its tensors.
            generator: The only source of chance.
        """
        return graph, tensors

    def is_to_look(self, progress: float) -> bool:  # noqa: ARG002 -- for methods that look
        """Say whether the method has to look at the training images before the next step.

        Args:
            progress: Share of the run that is done, in [0, 1]: asked once more when it has ended.
        """
        return False

    def look(self, images: TrainingImages) -> None:
        """Look at the training images, and keep what is found in buffers.

        Of several processes one does, and its buffers are told to the others.

        Args:
            images: All of them.
        """

    def draw(
        self,
        batch: Batch,
        generator: torch.Generator,  # noqa: ARG002 -- for methods that draw
    ) -> tuple[Tensor, ...]:
        """Return what `loss` reads of a batch.

        Args:
            batch: Augmented, normalized images and their classes.
            generator: The only source of chance.
        """
        return batch

    @abstractmethod
    def loss(self, *inputs: Tensor) -> Losses:
        """Return the losses of one step; what `entropy` gives is called `cross_entropy`.

        Args:
            inputs: What `draw` returned.
        """

    def forward(self, *inputs: Tensor) -> Losses:
        """Return the losses of one step, all of them; several processes average its gradients.

        Args:
            inputs: What `draw` returned, and after it what that of `open_set` did.
        """
        n_own = len(inputs) - self.open_set.n_drawn
        self.open_set.take(*inputs[n_own:])
        return self.open_set.add(self.loss(*inputs[:n_own]))

    def after_step(self, before: float, after: float) -> None:
        """Put the network back into what the method allows.

        Args:
            before: Share of the run that was done before the step, in [0, 1).
            after: The same after it.
        """

    def is_settled(self, progress: float) -> bool:  # noqa: ARG002 -- for methods with a plan
        """Say whether nothing is left that the method changes by a plan, besides training.

        Args:
            progress: Share of the run that is done, in (0, 1].
        """
        return True

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy with what the task makes of logits and labels.

        Shapes:
            logits: (N, n_classes); labels: (N,), int64.
        """
        logits = self.open_set.logits(logits)
        return cross_entropy(logits, labels, label_smoothing=self.task.label_smoothing)

    def measures(
        self,
        images: TrainingImages,  # noqa: ARG002 -- for methods that measure
        total: Callable[[Tensor], Tensor],  # noqa: ARG002 -- the same
    ) -> dict[str, float]:
        """Return what else than accuracy is measured after an epoch, by its name.

        Args:
            images: This process's share of the held-out images.
            total: Adds up the numbers that each process has found of its share.
        """
        return {}

    def findings(self) -> dict[str, Tensor]:
        """Return what the finished run keeps for `evidence`, besides the network."""
        return {}

    @classmethod
    @abstractmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return what kind of evidence `evidence` gives."""

    @classmethod
    @abstractmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],
        images: TrainingImages,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evidence:
        """Return what says which kernels each class keeps.

        Args:
            network: Trained by this method, in evaluation mode.
            findings: What its run kept.
            images: The training images.
            progress: Told how many images are done, and of how many, where images are read.
        """

    def run(
        self,
        images: Tensor,
        outputs: Sequence[str],
        scale: Mapping[str, Tensor] | None = None,
        network: GraphNetwork | None = None,
    ) -> dict[str, Tensor]:
        """Run the network in the run's precision; values of nodes as float32.

        Args:
            images: Normalized.
            outputs: Names of nodes.
            scale: Node name to a factor on its value.
            network: Another one than the network that is trained.
        """
        dtype = self.task.autocast
        # Not accelerate's mixed precision, which a process can choose only once.
        enabled = torch.autocast(images.device.type, dtype, enabled=dtype is not None)
        with enabled:
            if network is None:
                values = self.open_set.run(self.network, images, outputs, scale)
            else:
                values = network.run(images, outputs, scale)
        return {name: value.float() for name, value in values.items()}


def nothing_to_cut(
    why: str = "every one is the first, depthwise, of a pooled vector, or gives the logits",
    hint: str | None = None,
) -> ModpmError:
    """Return the error for a network whose modules would all be the network."""
    return ModpmError(
        "the network has no convolution to modularize",
        code="nothing-to-modularize",
        why=why,
        hint=hint,
    )
