"""`mwt`: modularizing while training, as its paper has it.

Each convolution that can be cut has a mask generator, a small network that says for each image
which kernels matter: their values are multiplied by its mask. Two losses bring the masks of images
of one class together and draw those of different classes apart; a third, `contrastive_loss`, does
both, and is off unless it is given a weight. A kernel that few images of a class activate is not
retained in the class's module.

Source:
    Qi, Sun, Zhang, Zhao and Gao, Modularizing while Training: A New Paradigm for Modularizing DNN
    Models (ICSE 2024, arXiv 2306.09376): the losses and their weights, SGD with Nesterov's momentum
    0.9 at 0.05 without weight decay, half a cosine without warm-up, batches of 128.
    Departs: with several processes, pairs are those within a process's part of a batch; module
    networks keep their mask generators; see `attach_mask_generators` and the losses for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from modpm.core.errors import ModpmError
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.shapes import infer_shapes
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.activity import Counting
from modpm.core.training.methods.method import (
    Losses,
    Network,
    Task,
    nothing_to_cut,
)
from modpm.core.training.similarity import contrastive_loss, layer_members, modular_losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import Tensor

    from modpm.core.graph import GraphNetwork
    from modpm.core.graph.operators.definition import Shape

_WIDE = 128  # layers of so many kernels get a hidden layer of half as many units
_GENERATOR = ".mask_generator."
_MASK = f"{_GENERATOR}mask"
_MASKED = ".masked"


class Mwt(Counting):
    """Cross-entropy + alpha · cohesion + beta · coupling + contrastive · contrastive loss.

    NeMo's loss is the one whose `contrastive` is above 0 and whose `alpha` and `beta` are 0.
    """

    settings: ClassVar[Mapping[str, float]] = {
        "alpha": 0.5,
        "beta": 1.5,
        "contrastive": 0.0,
        "tau": 0.2,
    }
    members: Tensor

    def __init__(self, network: GraphNetwork, task: Task) -> None:
        super().__init__(network, task)
        if task.settings.get("contrastive") and not task.settings["tau"]:
            raise ModpmError(
                "the contrastive loss has no temperature of 0",
                code="bad-setting",
                hint="leave `--set tau=` away for 0.2, or give one above 0",
                exit_code=2,
            )
        self.mask_nodes = mask_nodes(network.graph)
        kernels = network.graph.kernels()
        members = layer_members([kernels[layer] for layer in self.mask_nodes])
        self.register_buffer("members", members, persistent=False)

    @staticmethod
    def counted(graph: Graph) -> dict[str, str]:
        """Return the mask of each convolution."""
        return mask_nodes(graph)

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
        entropy = self.entropy(values[output], labels)
        cohesion, coupling = modular_losses(masks, labels, self.members)
        settings = self.task.settings
        losses = {
            "loss": entropy + settings["alpha"] * cohesion + settings["beta"] * coupling,
            "cross_entropy": entropy,
            "cohesion_loss": cohesion,
            "coupling_loss": coupling,
        }
        if weight := settings.get("contrastive"):
            contrastive = contrastive_loss(masks, labels, settings["tau"], self.members)
            losses["contrastive_loss"] = contrastive
            losses["loss"] = losses["loss"] + weight * contrastive
        return losses


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
