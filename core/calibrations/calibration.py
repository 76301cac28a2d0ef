"""What a calibration is: what it fits for many modules at once, and what it adds to each.

A score is the log-odds that the image shows the class *under even odds*: the log of how many
times likelier the image is if it shows the class than if it shows another class of the origin.
The share of the class in the data that the calibration was fitted on is taken out again, for
two reasons. It says how many classes the origin had, not what the image shows, so that leaving
it in would make modules of an origin of a hundred classes lose to modules of one of ten. And
odds are multiplied in by who knows them: composing k classes assumes each as likely as the
others (softmax over the scores), and a module alone claims an image at a score above 0, where
the image speaks for the class more than against it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.formats.network_graph import Node

Fitted = dict[str, "Tensor"]
"""What was fitted, by its name: of many modules, which are the first dimension, or of one."""


@dataclass(frozen=True)
class Examples:
    """What modules say of the same images, and which of these show each one's class.

    Attributes:
        features: What a module reads besides its logit. Where another has more of them, as many
            zeros stand before a module's own.
        logits: What its last layer gives.
        is_class: Which images show the class.

    Shapes:
        features: (M, N, D); logits: (M, N); is_class: (M, N), boolean.
    """

    features: Tensor
    logits: Tensor
    is_class: Tensor

    def select(self, images: Tensor) -> Examples:
        """Return what is said of some of the images; (N,), boolean."""
        return Examples(self.features[:, images], self.logits[:, images], self.is_class[:, images])

    def inputs(self, *, with_features: bool) -> Tensor:
        """Return all that is read of each image, the logit last; (M, N, D + 1), float64."""
        logits = self.logits[:, :, None]
        return torch.cat([self.features, logits] if with_features else [logits], 2).double()


class Calibration(ABC):
    """Makes scores of what modules say of images.

    Attributes:
        reads_features: Whether it reads more of a module than its logit.
    """

    reads_features: ClassVar[bool] = False

    @abstractmethod
    def fit(self, examples: Examples, near: Fitted | None = None) -> Fitted:
        """Return what is fitted for each module, all of them at once.

        Args:
            examples: What modules say of images that were held out of training.
            near: What was fitted to similar examples of the same modules.
        """

    @abstractmethod
    def scores(self, fitted: Fitted, examples: Examples) -> Tensor:
        """Return the scores of images by each module; (M, N), float64.

        Args:
            fitted: By `fit`, of the same modules.
            examples: Whose classes are not looked at.
        """

    @abstractmethod
    def nodes(
        self, fitted: Fitted, source: str, n_read: int, score: str
    ) -> tuple[list[Node], Fitted]:
        """Return what makes the score in the graph of one module, and the tensors of these nodes.

        Args:
            fitted: Of this module alone.
            source: The node that gives what is read, the logit last; (N, n_read).
            n_read: How many numbers these are: 1 without features.
            score: What the last node is called; names of others begin with it and a dot. It
                gives what `scores` gives, (N, 1).
        """
