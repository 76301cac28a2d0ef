"""Learning to tell one class from all others, by steps of as many images of it as of these."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from modpm.core.tensors import send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages

N_IMAGES = 64
"""Images of a step, half of them of the class."""

HEAD = 0.5, -2.0
"""The factor and the summand that make odds of a logit, at the start."""

HEAD_RATE = 0.02
"""Of learning, for these two."""


@dataclass(frozen=True)
class OneVsRest:
    """A class to be told from all others.

    Attributes:
        images: The training images.
        label: The class.
        n_steps: How many steps are taken.
        teacher: A network for all classes, by whose odds it is learned; None for labels.
    """

    images: TrainingImages
    label: int
    n_steps: int
    teacher: GraphNetwork | None = None

    def learn(
        self,
        parameters: Sequence[Tensor],
        rate: float,
        logit: Callable[[Tensor, int], Tensor],
        progress: Callable[[int], None] = lambda _step: None,
    ) -> None:
        """Learn some tensors in place, with the two numbers that make odds of the logit.

        Rates fall to nothing in equal parts.

        Args:
            parameters: What is learned; one tensor at least.
            rate: Of learning, at the start.
            logit: Gives the logit of the class of each image, given images and the step, from 1.
            progress: Told how many steps are done.
        """
        device = parameters[0].device
        head = torch.tensor(HEAD, device=device, requires_grad=True)
        rates = [{"params": [*parameters], "lr": rate}, {"params": [head], "lr": HEAD_RATE}]
        optimizer = torch.optim.Adam(rates)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.n_steps)
        chance = torch.Generator().manual_seed(self.label)
        for step, positions in enumerate(self._positions(chance), 1):
            batch = self.images.batch(positions, chance)
            images = send(batch.images, device)
            logits = logit(images, step)
            targets = self._targets(images, batch.labels).to(device, logits.dtype)
            loss = binary_cross_entropy_with_logits(head[0] * logits + head[1], targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
            falling.step()
            progress(step)

    def _targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return how probable it is that each image shows the class, (N,), where half of all do."""
        if self.teacher is None:
            return labels == self.label
        with torch.no_grad():
            logits = self.teacher.predict(images)
        own = logits[:, self.label]
        others = torch.cat([logits[:, : self.label], logits[:, self.label + 1 :]], dim=1)
        return (own - others.logsumexp(1) + self._log_odds_of_others).sigmoid()

    @cached_property
    def _is_class(self) -> Tensor:
        return self.images.data.labels == self.label

    @cached_property
    def _log_odds_of_others(self) -> float:
        n_class = int(self._is_class.sum())
        return math.log((len(self._is_class) - n_class) / n_class)

    def _positions(self, chance: torch.Generator) -> Iterator[Tensor]:
        """Draw the images of each step: half of them show the class."""
        sides = [side.nonzero()[:, 0] for side in (self._is_class, ~self._is_class)]
        for _ in range(self.n_steps):
            drawn = (torch.randint(len(own), (N_IMAGES // 2,), generator=chance) for own in sides)
            yield torch.cat([own[some] for own, some in zip(sides, drawn, strict=True)])
