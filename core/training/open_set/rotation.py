"""`rotation`: the network learns, too, by how much images are turned, and so what they show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modpm.core.data import normalize
from modpm.core.errors import ModpmError
from modpm.core.graph.shapes import infer_shapes
from modpm.core.shown_text import Percent
from modpm.core.training.inference import read
from modpm.core.training.open_set.open_set import OpenSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.manifest import InputContract
    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import Batch, TrainingImages
    from modpm.core.training.methods.method import Losses, Method

N_TURNS = 4
"""Rotations: by 0, 90, 180 and 270 degrees."""

WEIGHT = 0.5
"""What the loss of rotations weighs."""

SURE = 3.0
"""By how many standard errors of guessing the network must be better than that."""

_ACCURACY = "rotation_accuracy"


class Rotation(OpenSet):
    """Cross-entropy + 0.5 · the cross-entropy of telling by which quarter turn images are turned.

    A linear head reads for it what the network's last layer reads. Each image of a step is seen
    once more, turned, beside those of the method, which is not told: all share their batch
    statistics, as they share the running ones later.

    Source:
        Hendrycks, Mazeika, Kadavath and Song, Using self-supervised learning can improve model
        robustness and uncertainty (NeurIPS 2019, arXiv 1906.12340): the weight.
        Departs: of each image one rotation a step, not all four, so that a step has twice the
        images of another, not four times; the head starts at zero.
    """

    n_drawn: ClassVar[int] = 2

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.features = features_of(network.graph)
        self.head = nn.Linear(infer_shapes(network.graph)[self.features][0], N_TURNS)
        # Nothing is drawn for it, and one layer learns from zero as from anything.
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self._taken: tuple[Tensor, Tensor] | None = None  # until the network is run in a step
        self._lost: Tensor | None = None  # from then until the step ends

    @classmethod
    def check_input(cls, contract: InputContract) -> None:
        """Check that images are square, so that they are as large when they are turned.

        Raises:
            ModpmError: They are not (`bad-setting`).
        """
        if contract.height != contract.width:
            raise ModpmError(
                "images that are not square cannot be told apart by how they are turned",
                code="bad-setting",
                why=f"they are {contract.width} x {contract.height}, and their shape would tell",
                hint=f"bring them to one side, as by `--image-size {contract.height}`, or take "
                "`--open-set logitnorm`",
                exit_code=2,
            )

    def draw(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return a batch's images, of four in turn each turned once more, and by what they are."""
        parts = [turned(batch.images[k::N_TURNS], k) for k in range(N_TURNS)]
        turns = torch.arange(N_TURNS).repeat_interleave(torch.tensor([len(x) for x in parts]))
        return torch.cat(parts).contiguous(memory_format=torch.channels_last), turns

    def take(self, *drawn: Tensor) -> None:
        """Take note of turned images, (N, C, H, W), and by what they are, int64 (N,) of 0 to 3."""
        images, turns = drawn
        self._taken = images, turns

    def run(
        self,
        network: GraphNetwork,
        images: Tensor,
        outputs: Sequence[str],
        scale: Mapping[str, Tensor] | None,
    ) -> dict[str, Tensor]:
        """Run the network, the first time in a step with the turned images before the others."""
        if self._taken is None:
            return super().run(network, images, outputs, scale)
        (seen, turns), self._taken = self._taken, None
        factors = {name: _behind(seen, images, own) for name, own in (scale or {}).items()}
        joined = torch.cat([seen, images]).contiguous(memory_format=torch.channels_last)
        nodes = tuple(dict.fromkeys((*outputs, self.features)))
        values = network.run(joined, nodes, factors)
        features = _pooled(values[self.features][: len(seen)].float())
        self._lost = cross_entropy(self.head(features), turns)
        return {name: values[name][len(seen) :] for name in outputs}

    def add(self, losses: Losses) -> Losses:
        """Return the losses of a step with that of telling rotations.

        Raises:
            ModpmError: The method has not run the network by `Method.run` (`bad-setting`).
        """
        lost, self._lost = self._lost, None
        if lost is None:
            raise ModpmError(
                "the method does not run the network so that it sees turned images",
                code="bad-setting",
                hint="leave out `--open-set rotation`, or let the method use its `run`",
                exit_code=2,
            )
        return {**losses, "loss": losses["loss"] + WEIGHT * lost, "rotation_loss": lost}

    @torch.no_grad()
    def measures(
        self, method: Method, images: TrainingImages, total: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        """Return of which share of the held-out images, each turned once, it is told by what."""
        n_right, n_images = 0, len(images.data)
        for k in range(min(N_TURNS, n_images)):
            pixels = images.data.select(range(k, n_images, N_TURNS)).pixels
            values = read(
                method.network,
                pixels,
                lambda batch, k=k: turned(_normalized(batch, images), k),  # type: ignore[misc]  # a default
                (self.features,),
                precision=method.task.autocast,
                kept=lambda values: {self.features: _pooled(values[self.features].float())},
            )
            said = self.head(values[self.features].to(self.head.weight.device))
            n_right += int((said.argmax(1) == k).sum())
        right, told = total(torch.tensor([n_right, n_images])).tolist()
        return {_ACCURACY: right / told}

    def check_measures(self, measured: Mapping[str, float], n_images: int, where: str) -> None:
        """Check that more held-out images are told than guessing would, by its standard error.

        Raises:
            ModpmError: They are not (`rotations-not-told`).
        """
        guessed = 1 / N_TURNS
        error = math.sqrt(guessed * (1 - guessed) / n_images)
        if measured[_ACCURACY] >= min(guessed + SURE * error, 1.0):
            return
        raise ModpmError(
            "the network cannot tell by how much images are turned",
            code="rotations-not-told",
            where=where,
            why=f"{Percent(measured[_ACCURACY])} of {n_images:,} held-out images are told rightly; "
            f"guessing tells {Percent(guessed)}, give or take {Percent(SURE * error)}",
            hint="these images may look alike however they are turned: train in another folder "
            "without `--open-set rotation`, or with `--open-set logitnorm`; if they do not, with "
            "more `--epochs`",
        )


def features_of(graph: Graph) -> str:
    """Return the node whose value the last layer reads that multiplies by weights."""
    live = graph.live()
    layers = [node for node in graph.nodes if node.operator in {"linear", "conv2d"}]
    return next(node.inputs[0] for node in reversed(layers) if node.name in live)


def turned(images: Tensor, turns: int) -> Tensor:
    """Return images turned by some quarter turns; square (N, C, H, W) to the same."""
    return images.rot90(turns, (2, 3))


def _behind(seen: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Return a factor on values of images as one on those of others before them, too.

    One that is boolean is of the last images, however many there are.
    """
    is_of_each = factor.dim() > 1 and len(factor) == len(images)
    if factor.dtype == torch.bool or not is_of_each:
        return factor
    return torch.cat([factor.new_ones(len(seen), *factor.shape[1:]), factor])


def _pooled(values: Tensor) -> Tensor:
    """Return what is read of each image as a vector: (N, K, ...) to (N, K)."""
    return values.flatten(2).mean(2) if values.dim() > 2 else values  # noqa: PLR2004 -- of vectors


def _normalized(batch: Tensor, images: TrainingImages) -> Tensor:
    return normalize(batch, images.contract.mean, images.contract.std)
