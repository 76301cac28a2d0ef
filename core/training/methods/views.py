"""`views`: the network is shown its class modules while it trains.

A class module keeps few kernels of its network. A network that has never been seen that way loses
much when it is cut. So after its first part training ranks, for each class, the kernels of every
layer, and from then on does two things. It takes away the weights that are in no module, so that
the network is what all of its modules make together. And it shows the network what will become of
it: some images of each step are seen once more, through the kernels that one class keeps, or some
classes together. One class alone is judged by whether its logit says if it shows; several by which
of them shows.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    one_hot,
)

from modpm.core.slicing import cuttable_convolutions, own_kernels
from modpm.core.training.evidence import Cutoff, Evidence, Ranking
from modpm.core.training.methods.method import Losses, Method, Network, Task, nothing_to_cut
from modpm.core.training.ranking import importance_of_kernels, quotas, rank_kernels
from modpm.core.training.union import weights_in_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch.nn.modules.module import _IncompatibleKeys

    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import Batch, TrainingImages

START = 1 / 4
"""Share of a run from scratch after which kernels are ranked and views begin."""


class Viewing(NamedTuple):
    """How much a run looks through views.

    Attributes:
        share: Images of a batch that are seen again through views; above 1, some or all of them
            more than once.
        weight: What the loss of views weighs.
        sizes: How many classes a view keeps the kernels of: drawn from these, each as likely.
    """

    share: float
    weight: float
    sizes: tuple[int, ...]


FROM_SCRATCH = Viewing(1 / 2, 1.5, (1, 2, 3, 5, 5))

FROM_TRAINED = Viewing(2.0, 10.0, (1, 2, 2, 3, 3, 5, 5))
"""From trained weights: the whole network is nearly there when views begin, so most is for them."""

TAUGHT = 1 / 2
"""How much of what a view is to say is what the whole network says of the image."""

OWN_CLASS = 0.46
"""Share of the views of one class that show an image of it."""

TEMPERATURE = 2.0
"""At which a network that starts from trained weights follows what they said."""

FADE = 1 / 4
"""Share of a run from trained weights in which those that are in no module fade away."""

_FADING = 5.0  # e-folds of those weights in that time, before they are 0
_NEVER = -1e4  # the logit of a class that is not viewed; finite, so that 0 times it is 0


class Views(Method):
    """Cross-entropy, and of views through the kernels that classes are to keep.

    Attributes:
        points: For each convolution that is cut, the node whose value a view multiplies.
        ranks: The place of each kernel in each class's ranking, layers side by side; -1 before
            they are ranked.
        teacher: What the trained weights were that the run started from; None if there were none.

    Shapes:
        ranks: (n_classes, K_1 + … + K_L), int32.
    """

    ranks: Tensor

    def __init__(self, network: GraphNetwork, task: Task) -> None:
        super().__init__(network, task)
        self.points = cuttable_convolutions(network.graph)
        kernels = network.graph.kernels()
        self.n_kernels = {layer: kernels[layer] for layer in self.points}
        self.n_all = own_kernels(network.graph)
        shape = task.n_classes, sum(self.n_kernels.values())
        self.register_buffer("ranks", torch.full(shape, -1, dtype=torch.int32))
        self.teacher = _frozen(network) if task.is_trained else None
        self._is_ranked: bool | None = None  # unknown: it stands in `ranks`
        self.register_state_dict_post_hook(_leave_out_teacher)  # type: ignore[no-untyped-call]  # torch's
        self.register_load_state_dict_post_hook(_forget_ranks)  # type: ignore[no-untyped-call]  # the same
        # Asked for at every step, and the same once kernels are ranked.
        self._kept: dict[str, Tensor] = {}
        self._partial: tuple[list[Tensor], list[Tensor]] | None = None

    @classmethod
    def prepare(
        cls, graph: Graph, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> Network:
        """Return the network as it is, if it can be cut.

        Raises:
            ModpmError: No class could do without any of its kernels (`nothing-to-modularize`).
        """
        if not cuttable_convolutions(graph):
            raise nothing_to_cut()
        return super().prepare(graph, tensors, generator)

    @property
    def viewing(self) -> Viewing:
        """How much the run looks through views."""
        return FROM_TRAINED if self.task.is_trained else FROM_SCRATCH

    @property
    def is_ranked(self) -> bool:
        """Whether kernels are ranked, so that views are seen."""
        if self._is_ranked is None:
            self._is_ranked = bool((self.ranks >= 0).all())
        return self._is_ranked

    def kept(self) -> dict[str, Tensor]:
        """Return which kernels each class keeps, of 0 and 1; (n_classes, K) for each layer."""
        if not self._kept:
            masks = self._ranking().masks(Cutoff(retention=self.task.retention))
            self._kept = {layer: mask.float() for layer, mask in masks.items()}
        return self._kept

    def _ranking(self) -> Ranking:
        places = torch.split(self.ranks, list(self.n_kernels.values()), dim=1)
        return Ranking(dict(zip(self.n_kernels, places, strict=True)), self.n_all)

    def is_to_look(self, progress: float) -> bool:
        """Say whether it is time to rank kernels."""
        return progress >= (0.0 if self.task.is_trained else START) and not self.is_ranked

    def is_settled(self, progress: float) -> bool:
        """Say whether the network is what its modules make: ranked, and the rest taken away."""
        return self.is_ranked and not (self.task.is_trained and progress < FADE)

    def look(self, images: TrainingImages) -> None:
        """Rank the kernels of each class by their importance."""
        quota = quotas(self.n_kernels, self.n_all, self.task.retention)
        found = importance_of_kernels(self.network, images)
        ranks = [rank_kernels(table, quota[layer]) for layer, table in found.items()]
        self.ranks.copy_(torch.cat(ranks, dim=1))
        self._is_ranked = True

    def draw(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw how images are seen again, once kernels are ranked.

        Returns:
            Images and labels, and after them those of the M views; for each view the classes whose
            kernels it keeps, (M, n_classes), of 0 and 1.
        """
        images, labels = batch
        n_classes = self.task.n_classes
        if not self.is_ranked:
            return images, labels, images.new_zeros(0, n_classes)
        n_views = max(1, int(len(labels) * self.viewing.share))
        again = torch.cat(_viewed(labels, n_views))
        views = draw_views(again, n_classes, self.viewing.sizes, generator)
        return *(torch.cat([whole, *_viewed(whole, n_views)]) for whole in batch), views

    def loss(self, *inputs: Tensor) -> Losses:
        """Return the losses of one step.

        Whole and viewed images share their batch statistics, as both share the running
        statistics later.

        Shapes:
            images: (N + M, C, H, W)
            labels: (N + M,)
            views: (M, n_classes), the classes whose kernels the last M images are seen with.
        """
        images, labels, views = inputs
        n_whole, output = len(labels) - len(views), self.network.graph.output
        scale = self._scale(views) if len(views) else None
        logits = self.run(images, (output,), scale)[output]
        whole = logits[:n_whole]
        entropy = self.entropy(whole, labels[:n_whole])
        losses = {"loss": entropy, "cross_entropy": entropy}
        if self.teacher is not None:
            losses["teacher_loss"] = self._teacher_loss(images[:n_whole], whole)
            losses["loss"] = losses["loss"] + losses["teacher_loss"]
        if len(views):
            taught = torch.cat(_viewed(whole.detach(), len(views)))
            losses["view_loss"] = view_loss(logits[n_whole:], labels[n_whole:], views, taught)
            losses["loss"] = losses["loss"] + self.viewing.weight * losses["view_loss"]
        return losses

    def _scale(self, views: Tensor) -> dict[str, Tensor]:
        """Return what is left of each value in views."""
        kept = torch.cat(list(self.kept().values()), dim=1)
        parts = torch.split(views @ kept > 0, list(self.n_kernels.values()), dim=1)
        return dict(zip(self.points.values(), parts, strict=True))

    def _teacher_loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return how far the network is from what its weights said before training, softened.

        Source:
            Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015).
        """
        assert self.teacher is not None
        self.teacher.eval()
        output = self.network.graph.output
        with torch.no_grad():
            said = self.run(images, (output,), network=self.teacher)[output]
        divergence = kl_div(
            (logits / TEMPERATURE).log_softmax(1),
            (said / TEMPERATURE).log_softmax(1),
            log_target=True,
            reduction="batchmean",
        )
        return TEMPERATURE**2 * divergence

    @torch.no_grad()
    def after_step(self, before: float, after: float) -> None:
        """Take away the weights that are in no module: no composition has them.

        At once, but from a network that starts from trained weights little by little, so that
        the others take over what they did.
        """
        if not self.is_ranked:
            return
        is_fading = self.task.is_trained and after < FADE
        left = math.exp(_FADING * (before - after) / FADE) if is_fading else 0.0
        weights, are_in_modules = self._partial_weights()
        if left:
            are_in_modules = [mask.clamp_min(left) for mask in are_in_modules]
        if weights:
            torch._foreach_mul_(weights, are_in_modules)

    def _partial_weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights of which not all is in some module, and 1 where they are, else 0."""
        if self._partial is None:
            kept = {layer: mask.cpu() for layer, mask in self.kept().items()}
            masks = weights_in_modules(self.network.graph, kept)
            partial = {name: mask for name, mask in masks.items() if not mask.all()}
            weights: list[Tensor] = [self.network.get_parameter(name) for name in partial]
            # As large as the weights and laid out as they are: all are multiplied together.
            pairs = zip(weights, partial.values(), strict=True)
            self._partial = weights, [torch.empty_like(w).copy_(mask) for w, mask in pairs]
        return self._partial

    def measures(
        self,
        images: TrainingImages,  # noqa: ARG002 -- it needs none
        total: Callable[[Tensor], Tensor],  # noqa: ARG002 -- the same
    ) -> dict[str, float]:
        """Return the share of all kernels that each class keeps, once they are ranked."""
        if not self.is_ranked:
            return {}
        kept = torch.cat(list(self.kept().values()), 1)
        n_cut = kept.shape[1] - kept.sum(1).mean().item()
        return {"kernel_retention_rate": 1 - n_cut / self.n_all}

    def findings(self) -> dict[str, Tensor]:
        """Return the ranking, by layer."""
        return dict(self._ranking().places)

    @classmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return `Ranking`."""
        return Ranking

    @classmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],
        images: TrainingImages,  # noqa: ARG003 -- they were read while it trained
        progress: Callable[[int, int], None] | None = None,  # noqa: ARG003 -- the same
    ) -> Evidence:
        """Return the ranking that training has made."""
        return Ranking(findings, own_kernels(network.graph))


_TEACHER = "teacher."


def _leave_out_teacher(
    _views: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object
) -> None:
    """Leave out what is the same in every state: what the network was before training."""
    for name in [name for name in state if name.startswith(f"{prefix}{_TEACHER}")]:
        del state[name]


def _forget_ranks(views: nn.Module, unfit: _IncompatibleKeys) -> None:
    assert isinstance(views, Views)
    missing = [name for name in unfit.missing_keys if not name.startswith(_TEACHER)]
    unfit.missing_keys[:] = missing
    views._is_ranked = None  # noqa: SLF001 -- a hook is told of the module
    views._kept.clear()  # noqa: SLF001 -- the same
    views._partial = None  # noqa: SLF001 -- the same


def _frozen(network: GraphNetwork) -> GraphNetwork:
    return copy.deepcopy(network).requires_grad_(requires_grad=False)


def _viewed(values: Tensor, n_views: int) -> list[Tensor]:
    """Return values of the images that are seen again: all equally often, the last once more."""
    n_times, n_more = divmod(n_views, len(values))
    return [values[len(values) - n_more :], *[values] * n_times]


def draw_views(
    labels: Tensor, n_classes: int, sizes: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Draw the classes whose kernels each image is seen with.

    The image's own class is among several; alone it is drawn for `OWN_CLASS` of the images.

    Args:
        labels: What the images show.
        n_classes: Of the network.
        sizes: How many classes, each number as likely as it stands here.
        generator: What is drawn from.

    Shapes:
        labels: (M,)
        returns: (M, n_classes), of 0 and 1.
    """
    choices = torch.tensor([min(size, n_classes) for size in sizes])
    size = choices[torch.randint(len(choices), labels.shape, generator=generator)]
    keys = torch.rand(len(labels), n_classes, generator=generator)
    is_own = torch.rand(len(labels), generator=generator) < OWN_CLASS
    own = torch.where((size == 1) & ~is_own, -1.0, 2.0)  # last of the order, or first
    keys.scatter_(1, labels[:, None], own[:, None])
    order = keys.argsort(dim=1, descending=True).argsort(dim=1)
    return (order < size[:, None]).float()


def view_loss(logits: Tensor, labels: Tensor, views: Tensor, whole: Tensor) -> Tensor:
    """Return how far the viewed classes' logits are from what they should say of the images.

    That is, for one part, what the image shows, and for the other what the whole network says of
    it, which a small network learns more easily. Of one class alone the loss is the binary
    cross-entropy of its logit, of several the cross-entropy among them.

    Args:
        logits: Of the views.
        labels: What the images show.
        views: Of 0 and 1; of several classes, the image's is one.
        whole: Logits of the whole network for the same images.

    Shapes:
        logits, views, whole: (M, n_classes)
        labels: (M,)
        returns: (), the mean.

    Source:
        The teacher within the network as in Yu and Huang, Universally slimmable networks and
        improved training techniques (ICCV 2019).
    """
    is_alone = views.sum(1) == 1
    viewed = views.argmax(1, keepdim=True)
    shown = one_hot(labels, logits.shape[1]).to(logits.dtype)
    said = (1 - TAUGHT) * shown + TAUGHT * whole.softmax(1)
    alone = binary_cross_entropy_with_logits(
        logits.gather(1, viewed)[:, 0], said.gather(1, viewed)[:, 0], reduction="none"
    )
    outside = views == 0
    among = whole.masked_fill(outside, _NEVER).softmax(1)
    target = (1 - TAUGHT) * shown + TAUGHT * among
    several = cross_entropy(logits.masked_fill(outside, _NEVER), target, reduction="none")
    return torch.where(is_alone, alone, several).mean()
