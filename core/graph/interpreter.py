"""A network graph executed: an `nn.Module` made of ordinary layers."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from modpm.core.errors import ModpmError
from modpm.core.graph.folding import fold
from modpm.core.graph.operators.definition import is_recorded, layer_name, with_tensors
from modpm.core.graph.operators.normalization import UncountedBatchNorm
from modpm.core.graph.operators.table import OPERATORS
from modpm.core.graph.plans import Step, fast_plan, plain_plan, scaled_steps
from modpm.core.graph.shapes import check_tensors, infer_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.network_graph import Graph


class GraphNetwork(nn.Module):
    """A network graph as an `nn.Module`; made by `build`.

    The names of its state dict are the graph's tensor names. It trains, copies and exports like
    any network.

    Attributes:
        graph: The graph it executes.
    """

    def __init__(self, graph: Graph, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.graph = graph
        self._register(layers)
        slots = {graph.input: 0} | {node.name: i + 1 for i, node in enumerate(graph.nodes)}
        self._slots = slots
        self._steps = [
            Step(
                node.name,
                layers[layer_name(node)],
                tuple(slots[name] for name in node.inputs),
                slots[node.name],
            )
            for node in graph.nodes
        ]
        self._all = list(self.modules())
        self._plans: dict[tuple[object, ...], list[Step]] = {}
        self._folded: _Folded | None = None

    def _register(self, layers: Mapping[str, nn.Module]) -> None:
        """Nest the layers by the parts of their names, a layer under another where need be."""
        for name in sorted(layers):
            parent: nn.Module = self
            *path, leaf = name.split(".")
            for part in path:
                parent = _child(parent, part, nn.Module())
            _child(parent, leaf, layers[name])

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output.

        Shapes:
            x: (N, C, H, W) -> (N, F), or (N, C, H, W) where the graph's output is an image.
        """
        return self.run(x, (self.graph.output,))[self.graph.output]

    def predict(self, x: Tensor) -> Tensor:
        """Return the network's output, faster where it does nothing but predict.

        In evaluation mode and without gradients that is by a copy of it whose batch normalizations
        are folded into its convolutions (`fold`). The copy is made at the first call, and anew
        when a tensor is changed or replaced, or the network was put to training. Not seen are
        writes past torch's count of changes, such as `.data.mul_()` or through numpy's arrays,
        and steps of a fused optimizer in evaluation mode; hooks of layers are not called.

        Shapes:
            x: as for `forward`.
        """
        network = self
        is_trained = any(layer.training for layer in self._all)
        if not (is_trained or torch.is_grad_enabled() or is_recorded()):
            folded = self._folded  # another thread may forget it
            if folded is None or not folded.is_current:
                folded = self._folded = self._fold()
            if folded is not None:
                network = folded.network
                x = x.contiguous(memory_format=torch.channels_last)
        output: Tensor = network(x)
        return output

    def _fold(self) -> _Folded | None:
        """Return what predicts for this network; None where changes of it are not counted."""
        places = [
            (owner, name, tensor)
            for layer in self.modules()
            for owner in (layer._parameters, layer._buffers)  # noqa: SLF001 - where they are replaced
            for name, tensor in owner.items()
            if tensor is not None
        ]
        tensors = [tensor for *_, tensor in places]
        norms = [layer for layer in self.modules() if isinstance(layer, UncountedBatchNorm)]
        is_fixed = not any(tensor.is_inference() or tensor.is_meta for tensor in tensors)
        if not is_fixed:
            return None
        with torch.inference_mode(mode=False):  # so that the copy serves outside of it, too
            copy = build(*fold(self.graph, self.state_dict())).eval()
        copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        owners = [place[:2] for place in places]
        return _Folded(copy, owners, tensors, norms, _versions(tensors, norms))

    def train(self, mode: bool = True) -> Self:
        """Put the network to training, or to evaluation: steps in between may go uncounted."""
        self._folded = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:  # noqa: ANN401 - passed through as given
        """Convert or move all tensors, which torch does without changing their versions."""
        self._folded = None
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's
        return self

    def run(
        self, x: Tensor, outputs: Sequence[str], scale: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the values of several nodes from one pass that computes nothing else.

        Args:
            x: Images, of any precision.
            outputs: Names of nodes, or of the graph's input.
            scale: Node name to a factor that multiplies its value as soon as it is computed, in
                the value's precision.

        Shapes:
            x: (N, C, H, W)
            scale: (N, C) or (C,) for one factor a channel, or any shape that broadcasts; boolean
                (M, C) for what is left of the last M images.

        Raises:
            ModpmError: There is no such node (`unknown-node`).
        """
        factors = {} if scale is None else dict(scale)
        plan = self._plan(tuple(outputs), tuple(factors), is_fast=not is_recorded())
        n_values = 1 + len(self._steps)
        values: list[Tensor | None] = [
            self._in_own_precision(x),
            *[None] * (n_values - 1),
            *factors.values(),
        ]
        values += [None] * len(factors)
        for step in plan:
            value: Tensor = step.layer(*[values[slot] for slot in step.inputs])
            values[step.output] = value
            for slot in step.dead:
                values[slot] = None
        return {name: _present(values[self._slots[name]]) for name in outputs}

    def _in_own_precision(self, x: Tensor) -> Tensor:
        """Return images as numbers of the type that the network computes in."""
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            if tensor.is_floating_point():
                return x if x.dtype == tensor.dtype else x.to(tensor.dtype)
        return x

    def _plan(
        self, outputs: tuple[str, ...], scaled: tuple[str, ...], *, is_fast: bool
    ) -> list[Step]:
        """Return the steps that the outputs need, each with the values that die after it.

        Args:
            outputs: Names of nodes.
            scaled: The nodes whose values are scaled.
            is_fast: Whether several nodes may become one step.
        """
        key = outputs, scaled, is_fast
        plan = self._plans.get(key)
        if plan is None:
            wanted = {self._slot(name) for name in outputs}
            make = fast_plan if is_fast else plain_plan
            slots = [self._slot(name) for name in scaled]
            plan = self._plans[key] = make(scaled_steps(self._steps, slots), wanted)
        return plan

    def _slot(self, name: str) -> int:
        if name not in self._slots:
            raise ModpmError("the network has no such node", code="unknown-node", where=name)
        return self._slots[name]


class _Folded(NamedTuple):
    """A network that predicts for another, while that one's tensors are what they were.

    Attributes:
        network: The network that predicts.
        owners: Where each tensor of the other stands, and by which name.
        tensors: These tensors.
        norms: Layers that change some of them when they are trained.
        versions: How often each tensor was changed and where its numbers are, and how often each
            of these layers was put to training.
    """

    network: GraphNetwork
    owners: Sequence[tuple[Mapping[str, Tensor | None], str]]
    tensors: list[Tensor]
    norms: list[UncountedBatchNorm]
    versions: list[tuple[int, int]]

    @property
    def is_current(self) -> bool:
        """Whether every tensor is the same, and unchanged."""
        found = [tensors[name] for tensors, name in self.owners]
        is_same = all(map(operator.is_, found, self.tensors))
        return is_same and _versions(self.tensors, self.norms) == self.versions


def _versions(
    tensors: Sequence[Tensor], norms: Sequence[UncountedBatchNorm]
) -> list[tuple[int, int]]:
    counts = [(tensor._version, tensor.data_ptr()) for tensor in tensors]  # noqa: SLF001 - torch tells it nowhere else
    return [*counts, *((norm.n_trainings, 0) for norm in norms)]


def _child(parent: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """Return a child, a new one where there was none.

    Not by `add_module`, which refuses names of attributes: a network may well have a layer
    called `graph`, `run` or `type`.
    """
    children = parent._modules  # noqa: SLF001 - see above
    return children.setdefault(name, new) or new


def _present(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def build(graph: Graph, tensors: Mapping[str, Tensor]) -> GraphNetwork:
    """Make an `nn.Module` of a graph, with copies of its tensors.

    Tensors that the graph does not name are left out. A batch normalization has no
    `num_batches_tracked`: its momentum is a number, so nothing needs the count.

    Args:
        graph: Any graph, also one of a stranger: it is checked first.
        tensors: Every tensor that the graph names.

    Raises:
        ModpmError: The graph or a tensor breaks a clause of `specs/graph.md` (`invalid-graph`).
    """
    check_tensors(graph, tensors)
    shapes = infer_shapes(graph)
    layers: dict[str, nn.Module] = {}
    for node in graph.nodes:
        name = layer_name(node)
        if name not in layers:
            copies = {role: tensors[t].detach().clone() for role, t in node.tensors.items()}
            layer = OPERATORS[node.operator].layer(node, [shapes[i] for i in node.inputs])
            layers[name] = with_tensors(layer, copies)
    return GraphNetwork(graph, layers)
