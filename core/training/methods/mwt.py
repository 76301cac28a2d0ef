"""`mwt`: modularizing while training, as its paper has it.

Each convolution that can be cut has a mask generator, a small network that says for each image
which kernels matter: their values are multiplied by its mask. Two losses bring the masks of images
of one class together and draw those of different classes apart. A kernel that few images of a
class activate is not retained in the class's module.

Source:
    Qi, Sun, Zhang, Zhao and Gao, Modularizing while Training: A New Paradigm for Modularizing DNN
    Models (ICSE 2024, arXiv 2306.09376): the losses and their weights, SGD with Nesterov's momentum
    0.9 at 0.05 without weight decay, half a cosine without warm-up, batches of 128.
    Departs: with several processes, pairs are those within a process's part of a batch; module
    networks keep their mask generators; see `attach_mask_generators` and the losses for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it
from torch.nn.functional import cross_entropy, one_hot

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.shapes import infer_shapes
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.evidence import DEFAULT_THRESHOLD, Criterion, Evidence, Frequencies
from modpm.core.training.inference import normalizing, read
from modpm.core.training.methods.method import (
    Losses,
    Method,
    Network,
    Recipe,
    Task,
    nothing_to_cut,
)

if TYPE_CHECKING:
    from modpm.core.graph import GraphNetwork
    from modpm.core.graph.operators.definition import Shape
    from modpm.core.training.batches import TrainingImages

_SILENT_NORM = 1e-8  # a mask with a smaller norm activates no kernel

Masks = Mapping[str, Tensor] | Iterable[Tensor]

_WIDE = 128  # layers of so many kernels get a hidden layer of half as many units
_GENERATOR = ".mask_generator."
_MASK = f"{_GENERATOR}mask"
_MASKED = ".masked"


class Mwt(Method):
    """Cross-entropy + alpha · cohesion loss + beta · coupling loss."""

    settings: ClassVar[Mapping[str, float]] = {"alpha": 0.5, "beta": 1.5}
    members: Tensor

    def __init__(self, network: GraphNetwork, task: Task) -> None:
        super().__init__(network, task)
        self.mask_nodes = mask_nodes(network.graph)
        kernels = network.graph.kernels()
        members = layer_members([kernels[layer] for layer in self.mask_nodes])
        self.register_buffer("members", members, persistent=False)

    @classmethod
    def recipe(cls, *, is_trained: bool) -> Recipe:
        """Return the paper's."""
        return Recipe(lr=0.02 if is_trained else 0.05, weight_decay=0.0, warm_up=0.0)

    @classmethod
    def prepare(
        cls, graph: Graph, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> Network:
        """Return the network with mask generators.

        Raises:
            ModpmError: No convolution can have one (`nothing-to-modularize`).
        """
        return attach_mask_generators(graph, tensors, generator=generator)

    def loss(self, *inputs: Tensor) -> Losses:
        """Return the losses of images, (N, C, H, W), and labels, (N,)."""
        images, labels = inputs
        output = self.network.graph.output
        values = self.run(images, (output, *self.mask_nodes.values()))
        masks = [values[node] for node in self.mask_nodes.values()]
        entropy = cross_entropy(values[output], labels)
        cohesion, coupling = modular_losses(masks, labels, self.members)
        alpha, beta = self.task.settings["alpha"], self.task.settings["beta"]
        return {
            "loss": entropy + alpha * cohesion + beta * coupling,
            "cross_entropy": entropy,
            "cohesion_loss": cohesion,
            "coupling_loss": coupling,
        }

    def measures(
        self, images: TrainingImages, total: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        """Return the share of all kernels that a class would retain now, on average."""
        mine = count_kernels(self.network, images)
        counts = {layer: total(table) for layer, table in mine.counts.items()}
        found = Frequencies(counts, total(mine.n_samples))
        masks = found.masks(Criterion(threshold=DEFAULT_THRESHOLD))
        n_kernels = self.network.graph.kernels()
        n_cut = sum(n_kernels[layer] - mask.sum(1).float().mean() for layer, mask in masks.items())
        return {"kernel_retention_rate": 1 - float(n_cut) / sum(n_kernels.values())}

    @classmethod
    def evidence_type(cls) -> type[Evidence]:
        """Return `Frequencies`."""
        return Frequencies

    @classmethod
    def evidence(
        cls,
        network: GraphNetwork,
        findings: Mapping[str, Tensor],  # noqa: ARG003 -- it finds nothing while it trains
        images: TrainingImages,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evidence:
        """Return how often training images of each class activate each kernel."""
        return count_kernels(network, images, progress)


def count_kernels(
    network: GraphNetwork,
    images: TrainingImages,
    progress: Callable[[int, int], None] | None = None,
) -> Frequencies:
    """Count, in one pass over images, which kernels the samples of each class activate.

    What is held does not grow with the samples but for one bit for each of their kernels.

    Args:
        network: A network with mask generators; run in evaluation mode.
        images: The images.
        progress: Told after each batch how far it is.
    """
    nodes, n_kernels, data = mask_nodes(network.graph), network.graph.kernels(), images.data
    sizes = [n_kernels[layer] for layer in nodes]
    packed = read(
        network,
        images.pixels,
        normalizing(images.contract),
        tuple(nodes.values()),
        kept=lambda masks: {"active": _packed(torch.cat([m > 0 for m in masks.values()], dim=1))},
        progress=progress,
    )["active"]

    def sample_masks(class_index: int) -> Tensor:
        own = packed[data.labels == class_index].numpy()
        return torch.from_numpy(np.unpackbits(own, axis=1, count=sum(sizes))).bool()

    counts = torch.stack([sample_masks(i).sum(0) for i in range(len(data.classes))])
    return Frequencies(
        dict(zip(nodes, torch.split(counts, sizes, dim=1), strict=True)),
        torch.bincount(data.labels, minlength=len(data.classes)),
        sample_masks,
    )


def _packed(bits: Tensor) -> Tensor:
    """Return eight bits as one byte, the first the highest.

    Shapes:
        bits: (N, K), boolean → (N, ⌈K / 8⌉), uint8
    """
    padded = F.pad(bits, (0, -bits.shape[1] % 8))
    places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (padded.view(len(bits), padded.shape[1] // 8, 8) * places).sum(2, dtype=torch.uint8)


def cohesion_loss(masks: Masks, labels: Tensor) -> Tensor:
    """Return 1 minus the mean cosine similarity of the masks of same-class pairs.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: ()

    Source:
        Modularizing while Training (arXiv 2306.09376), the loss for cohesion.
        Departs: a batch without a same-class pair gives 0, and a mask that activates no kernel
        has similarity 0 with every other; the reference code gives NaN for both.
    """
    return _mean_over(1 - mean_similarities(masks), same_class_pairs(labels))


def coupling_loss(masks: Masks, labels: Tensor) -> Tensor:
    """Return the mean cosine similarity of the masks of different-class pairs.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: ()

    Source:
        Modularizing while Training (arXiv 2306.09376), the loss for coupling.
        Departs: a batch without a different-class pair gives 0, and a mask that activates no
        kernel has similarity 0 with every other; the reference code gives NaN for both.
    """
    return _mean_over(mean_similarities(masks), different_class_pairs(labels))


def modular_losses(
    masks: Masks, labels: Tensor, members: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return `cohesion_loss` and `coupling_loss`, sharing their one matrix product.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.
        members: Of these layers, where it is known already.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: () and ()
    """
    similarities = mean_similarities(masks, members)
    cohesion = _mean_over(1 - similarities, same_class_pairs(labels))
    return cohesion, _mean_over(similarities, different_class_pairs(labels))


def mean_similarities(masks: Masks, members: Tensor | None = None) -> Tensor:
    """Return the cosine similarity of every two samples' masks, averaged over layers.

    Every layer has the same pairs, so the mean over layers of a mean over pairs is the mean over
    pairs of this matrix, and one product of the concatenated unit masks gives all layers.

    Shapes:
        masks: (N, K) each.
        returns: (N, N)
    """
    layers = list(masks.values()) if isinstance(masks, Mapping) else list(masks)
    exact = [layer if layer.dtype == torch.float64 else layer.float() for layer in layers]
    joined = torch.cat(exact, dim=1)
    if members is None:
        members = layer_members([layer.shape[1] for layer in layers]).to(joined)
    units = joined * _unit_scales(joined, members)
    return units @ units.T


def layer_members(sizes: Sequence[int]) -> Tensor:
    """Return which kernel is of which layer: (K_1 + ... + K_L, L), of 0 and 1."""
    layer_of = torch.repeat_interleave(torch.tensor(sizes))
    return one_hot(layer_of, len(sizes)).float()


def _unit_scales(joined: Tensor, members: Tensor) -> Tensor:
    """Return what brings each layer's part of each sample's masks to length 1 / √L.

    Silent masks stay as they are, with a finite gradient. Sums over layers of any size are products
    with the matrix that says which kernel is of which layer, so that all layers take a few steps.

    Shapes:
        joined: (N, K_1 + ... + K_L)
        members: (K_1 + ... + K_L, L)
        returns: as joined
    """
    squares = joined.square() @ members
    is_silent = squares <= _SILENT_NORM**2
    scales = (members.shape[1] * squares.masked_fill(is_silent, 1)).rsqrt()
    return scales @ members.T


def same_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of one class; (N,) to boolean (N, N)."""
    return (labels[:, None] == labels).triu(diagonal=1)


def different_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of different classes; (N,) to boolean (N, N)."""
    return (labels[:, None] != labels).triu(diagonal=1)


def _mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp_min(1)


def attach_mask_generators(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator,
) -> tuple[Graph, dict[str, Tensor]]:
    """Give each convolution that can be cut a mask generator, and multiply its output by the mask.

    A generator is made of ordinary nodes: `{conv}.mask_generator.pool`, `.hidden`, `.hidden_relu`,
    `.score`, `.tanh` and `.mask`; `{conv}.masked` is the batch norm's value times the mask, or the
    convolution's own where other nodes than one batch norm read it.

    Args:
        graph: A network without mask generators.
        tensors: Its tensors.
        generator: Source of the weights' randomness.

    Shapes:
        pool (N, C_in), hidden (N, C_out) or (N, C_out / 2), score and mask (N, C_out).

    Returns:
        The new graph and its tensors; the given ones are not changed.

    Raises:
        ModpmError: No convolution can have a mask generator (`nothing-to-modularize`).

    Source:
        Modularizing while Training (arXiv 2306.09376), mask generators: Kaiming-normal weights,
        last bias 1.
        Departs: depthwise convolutions, convolutions of pooled vectors (squeeze-and-excite) and
        those that give the logits have none; cutting follows their inputs or would cut classes.
    """
    points = cuttable_convolutions(graph)
    if not points:
        raise nothing_to_cut()
    convs = {point: graph.node(conv) for conv, point in points.items()}
    shapes = infer_shapes(graph)
    weights = dict(tensors)
    for conv in convs.values():
        weights |= _generator_tensors(conv, shapes[conv.inputs[0]], generator, tensors)
    return _with_generators(graph, convs), weights


def _with_generators(graph: Graph, convs: Mapping[str, Node]) -> Graph:
    """Return the graph with generators; `convs` has the convolution of each masked value."""
    masked = {value: f"{conv.name}{_MASKED}" for value, conv in convs.items()}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(masked.get(name, name) for name in node.inputs)
        nodes.append(Node(node.name, node.operator, inputs, node.attributes, node.tensors))
        if (conv := convs.get(node.name)) is not None:
            source = conv.inputs[0]
            nodes += _generator_nodes(conv, masked.get(source, source), node.name)
    output = masked.get(graph.output, graph.output)
    return Graph(graph.input, graph.input_shape, tuple(nodes), output)


def mask_nodes(graph: Graph) -> dict[str, str]:
    """Return the node that gives each masked convolution's mask, in execution order."""
    return {
        node.name.removesuffix(_MASK): node.name
        for node in graph.nodes
        if node.name.endswith(_MASK)
    }


def _n_kernels(conv: Node) -> int:
    n_kernels = conv.attributes["n_kernels"]
    assert isinstance(n_kernels, int)
    return n_kernels


def _generator_nodes(conv: Node, source: str, value: str) -> Iterator[Node]:
    prefix, n_kernels = f"{conv.name}{_GENERATOR}", _n_kernels(conv)
    n_hidden = hidden_size(n_kernels)
    hidden = {"weight": f"{prefix}hidden.weight"}
    score = {"weight": f"{prefix}score.weight", "bias": f"{prefix}score.bias"}
    yield Node(f"{prefix}pool", "mean", (source,), {"keepdim": False})
    yield Node(f"{prefix}hidden", "linear", (f"{prefix}pool",), {"n_features": n_hidden}, hidden)
    yield Node(f"{prefix}hidden_relu", "relu", (f"{prefix}hidden",))
    yield Node(
        f"{prefix}score", "linear", (f"{prefix}hidden_relu",), {"n_features": n_kernels}, score
    )
    yield Node(f"{prefix}tanh", "tanh", (f"{prefix}score",))
    yield Node(f"{prefix}mask", "relu", (f"{prefix}tanh",))
    yield Node(f"{conv.name}{_MASKED}", "mul", (value, f"{prefix}mask"))


def hidden_size(n_kernels: int) -> int:
    """Return how many hidden units the mask generator of a layer has."""
    return n_kernels if n_kernels < _WIDE else n_kernels // 2


def _generator_tensors(
    conv: Node,
    input_shape: Shape,
    generator: torch.Generator,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    like, n_kernels = tensors[conv.tensors["weight"]], _n_kernels(conv)
    n_hidden = hidden_size(n_kernels)
    hidden, score = like.new_empty(n_hidden, input_shape[0]), like.new_empty(n_kernels, n_hidden)
    for weight in (hidden, score):
        nn.init.kaiming_normal_(weight, generator=generator)
    prefix = f"{conv.name}{_GENERATOR}"
    return {
        f"{prefix}hidden.weight": hidden,
        f"{prefix}score.weight": score,
        f"{prefix}score.bias": like.new_ones(n_kernels),
    }
