"""Training through views: images seen with the kernels of some classes alone.

A class module keeps few kernels of its network. A network that has never been seen that way loses
much when it is cut. So after its first part training ranks, for each class, the kernels of every
layer, and from then on does two things. It takes away the weights that are in no module, so that
the network is what all of its modules make together. And it shows the network what will become of
it: some images of each step are seen once more, through the kernels that one class keeps, or some
classes together. One class alone is judged by whether its logit says if it shows; several by which
of them shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    one_hot,
)

from modpm.core.training.objectives import Losses, MwtObjective
from modpm.core.training.ranking import kept_kernels, kernel_importance, quotas, rank_kernels
from modpm.core.training.union import weights_in_modules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.graph.interpreter import GraphNetwork
    from modpm.core.training.batches import TrainingImages
    from modpm.core.training.running_frequencies import RunningFrequencies

START = 1 / 4
"""Share of the run after which kernels are ranked and views begin; found on validation data."""

N_RANKING_IMAGES = 3000
"""Training images that the importance of kernels is measured on."""


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

COUPLING = 1 / 2
"""What coupling weighs when views begin, as a share of beta: it rises to that from 0."""

MODULAR = 0.1
"""What the modular losses still weigh after that, as a share of alpha and beta."""

_FADING = 5.0  # e-folds of those weights in that time, before they are 0
_NEVER = -1e4  # the logit of a class that is not viewed; finite, so that 0 times it is 0


class ViewsObjective(MwtObjective):
    """MwT, then views through the kernels that classes are to keep.

    Layers count in the modular losses by their kernels, so that wide layers, which hold most of
    a module, separate most.

    Attributes:
        retention: The kernel retention rate of the modules that are prepared.
        start: Share of the run after which kernels are ranked and views begin.
        teacher: What the trained weights were that the run started from; None if there were none.
        ranks: The place of each kernel in each class's ranking, masked layers side by side; -1
            before they are ranked.

    Shapes:
        ranks: (n_classes, K_1 + … + K_L), int32.
    """

    ranks: Tensor

    def __init__(
        self,
        network: GraphNetwork,
        frequencies: RunningFrequencies,
        *,
        alpha: float,
        beta: float,
        retention: float,
        start: float = START,
        teacher: GraphNetwork | None = None,
        is_half: bool = False,
    ) -> None:
        super().__init__(network, frequencies, alpha=alpha, beta=beta, is_half=is_half)
        self.retention, self.start, self.teacher = retention, start, teacher
        n_masked = frequencies.n_kernels
        self.layer_weights = [n / sum(n_masked.values()) for n in n_masked.values()]
        shape = frequencies.frequencies.shape
        # Asked for at every step, and the same once kernels are ranked.
        self._kept: dict[str, Tensor] = {}
        self._in_modules: dict[str, Tensor] = {}
        self.register_buffer("ranks", torch.full(shape, -1, dtype=torch.int32))

    @property
    def _viewing(self) -> Viewing:
        return FROM_SCRATCH if self.teacher is None else FROM_TRAINED

    @property
    def is_ranked(self) -> bool:
        """Whether the kernels have been ranked."""
        return bool(self.ranks[0, 0] >= 0)

    def layer_ranks(self) -> dict[str, Tensor]:
        """Return the place of each kernel in each class's ranking, by layer."""
        sizes = self.frequencies.n_kernels
        return dict(zip(sizes, torch.split(self.ranks, list(sizes.values()), dim=1), strict=True))

    def kept(self) -> dict[str, Tensor]:
        """Return the kernels that each class keeps, of 0 and 1, by layer."""
        if not self._kept:
            masks = kept_kernels(self.layer_ranks(), self.n_kernels, self.retention)
            self._kept = {layer: mask.float() for layer, mask in masks.items()}
        return self._kept

    def retention_rate(self, threshold: float) -> float:
        """Return the share of all kernels that each class keeps, once they are ranked."""
        if not self.is_ranked:
            return super().retention_rate(threshold)
        kept = torch.cat(list(self.kept().values()), 1)
        n_cut = kept.shape[1] - kept.sum(1).mean().item()
        return 1 - n_cut / self.n_kernels

    def inputs(
        self,
        positions: Tensor,
        source: TrainingImages,
        generator: torch.Generator,
        progress: float,
    ) -> tuple[Tensor, ...]:
        """Draw a batch and, once views have begun, how its images are to be seen again.

        Returns:
            Images and labels, and after them those of the M views; for each view the classes whose
            kernels it keeps, (M, n_classes), of 0 and 1; the weights of the two modular losses,
            (2,).
        """
        n_classes = len(source.data.classes)
        if progress < self.start:
            images, labels = super().inputs(positions, source, generator, progress)
            weights = torch.tensor([self.alpha, COUPLING * self.beta * progress / self.start])
            return images, labels, torch.zeros(0, n_classes), weights
        if not self.is_ranked:
            self._rank(source)
        images, labels = super().inputs(positions, source, generator, progress)
        viewing = self._viewing
        n_viewed = max(1, int(len(labels) * viewing.share))
        again = _viewed(len(labels), n_viewed)
        views = draw_views(labels[again], n_classes, viewing.sizes, generator)
        images, labels = (torch.cat([whole, whole[again]]) for whole in (images, labels))
        return images, labels, views, MODULAR * torch.tensor([self.alpha, self.beta])

    def _rank(self, source: TrainingImages) -> None:
        """Rank the kernels of each class by their importance for training images."""
        chance = torch.Generator().manual_seed(0)  # every process ranks by the same images
        positions = torch.randperm(len(source.data), generator=chance)[:N_RANKING_IMAGES]
        images, labels = source.plain_batch(positions)
        n_classes = len(source.data.classes)
        device = self.ranks.device
        found = kernel_importance(
            self.network, self.mask_nodes, images.to(device), labels.to(device), n_classes
        )
        quota = quotas(self.frequencies.n_kernels, self.n_kernels, self.retention)
        ranks = [rank_kernels(table.cpu(), quota[layer]) for layer, table in found.items()]
        self.ranks.copy_(torch.cat(ranks, dim=1))

    def forward(  # type: ignore[override]  # it takes what its own `inputs` returns
        self, images: Tensor, labels: Tensor, views: Tensor, weights: Tensor
    ) -> Losses:
        """Return the losses of one step.

        Whole and viewed images share their batch statistics, as both share the running
        statistics later.

        Shapes:
            images: (N + M, C, H, W)
            labels: (N + M,)
            views: (M, n_classes), the classes whose kernels the last M images are seen with.
            weights: (2,), of the cohesion and of the coupling loss.
        """
        n_whole = len(labels) - len(views)
        output = self.network.graph.output
        nodes = (output, *self.mask_nodes.values())
        values = self.run(images, nodes, self._scale(n_whole, views) if len(views) else None)
        whole = {name: value[:n_whole] for name, value in values.items()}
        losses = self.losses(whole, labels[:n_whole], *weights)
        if self.teacher is not None:
            losses["teacher_loss"] = self._teacher_loss(images[:n_whole], whole[output])
            losses["loss"] = losses["loss"] + losses["teacher_loss"]
        if len(views):
            taught = whole[output][_viewed(n_whole, len(views))].detach()
            seen = values[output][n_whole:]
            losses["view_loss"] = view_loss(seen, labels[n_whole:], views, taught)
            losses["loss"] = losses["loss"] + self._viewing.weight * losses["view_loss"]
        return losses

    def _teacher_loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return how far the network is from what its weights said before training, softened.

        Source:
            Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015).
        """
        assert self.teacher is not None
        self.teacher.eval()
        enabled = torch.autocast(images.device.type, torch.bfloat16, enabled=self.is_half)
        with torch.no_grad(), enabled:
            said = self.teacher(images).float()
        divergence = kl_div(
            (logits / TEMPERATURE).log_softmax(1),
            (said / TEMPERATURE).log_softmax(1),
            log_target=True,
            reduction="batchmean",
        )
        return TEMPERATURE**2 * divergence

    @torch.no_grad()
    def constrain(self, before: float, after: float) -> None:
        """Take away the weights that are in no module: no composition has them.

        At once, but from a network that starts from trained weights little by little, so that
        the others take over what they did.
        """
        if not self.is_ranked:
            return
        is_fading = self.teacher is not None and after < FADE
        left = math.exp(_FADING * (before - after) / FADE) if is_fading else 0.0
        for name, is_in_a_module in self._weights_in_modules().items():
            self.network.get_parameter(name).mul_(torch.where(is_in_a_module, 1.0, left))

    def _weights_in_modules(self) -> dict[str, Tensor]:
        """Return, for each weight of which not all is in some module, which numbers are."""
        if not self._in_modules:
            masks = weights_in_modules(self.network.graph, self.kept())
            device = self.ranks.device
            partial = {name: mask for name, mask in masks.items() if not mask.all()}
            self._in_modules = {name: mask.to(device) for name, mask in partial.items()}
        return self._in_modules

    def _scale(self, n_whole: int, views: Tensor) -> dict[str, Tensor]:
        """Return what multiplies each mask: 1 for whole images; for views, what is kept."""
        return {
            self.mask_nodes[layer]: torch.cat(
                [views.new_ones(n_whole, kept.shape[1]), (views @ kept).clamp(max=1)]
            )
            for layer, kept in self.kept().items()
        }


def _viewed(n_images: int, n_views: int) -> Tensor:
    """Return which images are seen again: the last ones, all equally often or once more."""
    return torch.arange(n_images - n_views, n_images) % n_images


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
