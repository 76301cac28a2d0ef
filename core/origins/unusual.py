"""What is taken off scores of images that are unlike all that an origin was trained on.

What a class module was never shown it may still call its own, and surely: a digit, noise. Plain
numbers of an image tell that it is none of the usual ones (ADR 24): brightness, colors, edges and
spots, how strong they are on average and how strong where they are strong. Their squared distance
from those of held-out images, whitened, costs nothing up to a limit that few of these pass, and
log-odds beyond. It is the same for all classes of an origin, whose order it leaves as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build
from modpm.core.training.inference import normalizing, predict

if TYPE_CHECKING:
    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract

USUAL_SHARE = 0.95
"""The share of held-out images that nothing is taken from."""

LOG_ODDS = 4.0
"""What is taken off at twice the limit, as much again at three times, and so on."""

MOST = 50.0
"""Log-odds that are taken off at most, so that no score leaves the numbers that can be told."""

SHRINKAGE = 0.1
"""How much of the covariances between two numbers is left out."""

FLOOR = 1e-8
"""Added to variances, so that what never varies can be divided by."""

N_FOLDS = 2

_POINT = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
_ACROSS = [[0, 0, 0], [-1, 0, 1], [0, 0, 0]]
_SPOT = [[0, -0.5, 0], [-0.5, 2, -0.5], [0, -0.5, 0]]
_GRAY = (1 / 3, 1 / 3, 1 / 3)
_OPPONENTS = ((1.0, -1.0, 0.0), (0.5, 0.5, -1.0))


@dataclass(frozen=True)
class Penalty:
    """What is taken off the scores of unusual images.

    Attributes:
        graph: Reads an image as the origin does, and gives the log-odds to take off, (N, 1).
        tensors: Its tensors.
        held_out: What is taken off the held-out images, by what was fitted on the other half of
            them; (N,), float64.
    """

    graph: Graph
    tensors: dict[str, Tensor]
    held_out: Tensor

    def nodes(self, source: str) -> list[Node]:
        """Return its nodes, reading the image by another name."""
        return [node.reading(source, instead_of=self.graph.input) for node in self.graph.nodes]

    @property
    def size_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def fit_penalty(
    data: ImageData, contract: InputContract, name: str, device: torch.device
) -> Penalty | None:
    """Fit what is taken off the scores of an origin's class modules.

    Args:
        data: Its held-out images.
        contract: What an image must be.
        name: Begins the names of the nodes.
        device: Where images are read.

    Returns:
        None where there are too few images to say what is usual.
    """
    if len(data) < N_FOLDS:
        return None
    nodes, tensors = _reading(contract, name)
    shape = (contract.channels, contract.height, contract.width)
    reader = build(Graph("input", shape, tuple(nodes), nodes[-1].name), tensors)
    numbers = predict(reader, data.pixels, normalizing(contract), device=device).double()
    folds = torch.arange(len(numbers)) % N_FOLDS
    distances = torch.empty(len(numbers), dtype=torch.float64)
    for fold in range(N_FOLDS):
        held, others = folds == fold, folds != fold
        distances[held] = _distances(numbers[held], *_whitening(numbers[others]))
    limit = float(distances.quantile(USUAL_SHARE).clamp(min=FLOOR))
    judging, fitted = _judging(name, nodes[-1].name, *_whitening(numbers), limit)
    graph = Graph("input", shape, (*nodes, *judging), judging[-1].name)
    held_out = (LOG_ODDS * (distances / limit - 1)).clamp(0, MOST)
    return Penalty(graph, {**tensors, **fitted}, held_out)


def _reading(contract: InputContract, name: str) -> tuple[list[Node], dict[str, Tensor]]:
    """Return the nodes that read numbers of an image, two of each filter."""
    weight = _filters(contract.channels)
    attributes: dict[str, object] = {
        "n_kernels": len(weight),
        "kernel_size": [3, 3],
        "stride": [2, 2],
        "padding": [1, 1],
        "dilation": [1, 1],
        "groups": 1,
    }
    filters, tensor = f"{name}.filters", f"{name}.filters.weight"
    return [
        Node(filters, "conv2d", ("input",), attributes, {"weight": tensor}),  # type: ignore[arg-type]  # all of them are attributes
        Node(f"{name}.found", "relu", (filters,)),
        Node(f"{name}.strength", "mul", (filters, filters)),
        Node(f"{name}.both", "cat", (f"{name}.found", f"{name}.strength")),
        Node(f"{name}.numbers", "mean", (f"{name}.both",), {"keepdim": False}),
    ], {tensor: weight}


def _filters(channels: int) -> Tensor:
    """Return brightness, edges and spots; and of colors their opponents, and spots of the first."""
    shapes = torch.tensor([_POINT, _ACROSS, _SPOT])
    if channels == 1:
        return shapes[:, None]
    gray, opponents = torch.tensor(_GRAY), torch.tensor(_OPPONENTS)
    parts = [gray[None, :, None, None] * shapes[:, None]]
    parts += [opponents[:, :, None, None] * shapes[0], opponents[:1, :, None, None] * shapes[2]]
    return torch.cat(parts)


def _whitening(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, and what makes differences from it uncorrelated and of variance 1.

    Shapes:
        numbers: (N, D) → (D,), (D, D)
    """
    covariance = torch.cov(numbers.T, correction=0)
    variances = covariance.diagonal()
    shrunk = (1 - SHRINKAGE) * covariance
    shrunk.diagonal().add_(SHRINKAGE * variances + FLOOR)
    factor = torch.linalg.cholesky(shrunk)
    identity = torch.eye(len(factor), dtype=factor.dtype)
    return numbers.mean(0), torch.linalg.solve_triangular(factor, identity, upper=False)


def _distances(numbers: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Return the squared distances from the mean, of mean 1 where the mean was taken."""
    return ((numbers - mean) @ whitening.T).square().mean(1)


def _judging(
    name: str, source: str, mean: Tensor, whitening: Tensor, limit: float
) -> tuple[list[Node], dict[str, Tensor]]:
    """Return the nodes that make what is taken off of the numbers of an image."""
    n = len(mean)
    differences, excess = f"{name}.differences", f"{name}.excess"
    tensors = {
        f"{differences}.weight": whitening,
        f"{differences}.bias": -whitening @ mean,
        f"{excess}.weight": torch.full((1, n), LOG_ODDS / (limit * n)),
        f"{excess}.bias": torch.full((1,), -LOG_ODDS),
    }
    roles = {
        layer: {role: f"{layer}.{role}" for role in ("weight", "bias")}
        for layer in (differences, excess)
    }
    nodes = [
        Node(differences, "linear", (source,), {"n_features": n}, roles[differences]),
        Node(f"{name}.squares", "mul", (differences, differences)),
        Node(excess, "linear", (f"{name}.squares",), {"n_features": 1}, roles[excess]),
        Node(f"{name}.penalty", "clamp", (excess,), {"minimum": 0.0, "maximum": MOST}),
    ]
    return nodes, {role: tensor.float() for role, tensor in tensors.items()}
