"""A user's network read into a network graph."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from modpm.core.errors import ModpmError
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.aten import HANDLERS
from modpm.core.graph.interpreter import build
from modpm.core.graph.translation import Constant, Translator, UntranslatableError

_IMAGE_BATCH_RANK = 4  # images, channels, height, width
_TORCH_FOLDER = str(Path(torch.__file__).parent)
_OWN_FOLDER = str(Path(__file__).parent)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_INPUT = "input"

RELATIVE_TOLERANCE = 1e-3
"""How far a traced network may be from the network, of its largest output: float32 rounding."""


class _Logits(nn.Module):
    """A network whose output is one tensor, whatever it is wrapped in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return _logits(self.network(x))


def _logits(output: object) -> Tensor:
    """Return the one tensor of an output: itself, in a tuple, or named `logits`."""
    if isinstance(output, Mapping):
        output = output.get("logits", output)
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list) and len(output) == 1:
        output = output[0]
    if isinstance(output, Tensor):
        return output
    raise ModpmError(
        "the network does not return one tensor",
        code="unsupported-output",
        why=f"it returns a value of type {type(output).__name__}",
        hint="return the logits, or an object or dictionary with `logits`",
    )


def trace(network: nn.Module, example_input: Tensor) -> tuple[Graph, dict[str, Tensor]]:
    """Read a network into a graph and its tensors.

    The network is run, in evaluation mode, on the example alone: what it does must not depend on
    the numbers in an image. It is left as it was.

    Args:
        network: Any network of the operators of `specs/graph.md`, with one tensor as its output
            (also in a tuple, or as `logits` of a dictionary or object).
        example_input: Images of the size that the network is for.

    Returns:
        The graph, and copies of the tensors that it names. A convolution, linear layer or batch
        normalisation keeps its name and its tensors' names (`num_batches_tracked` is left out).

    Shapes:
        example_input: (N, C, H, W)

    Raises:
        ModpmError: `unsupported-operator`, naming the operator and the line that called it;
            `unsupported-control-flow`; `unsupported-output`; `untraceable-network` where the
            network itself fails, or the graph does not compute what the network does.
    """
    example = _example(example_input)
    with _evaluating(network), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the user's network, which its own runs show
        program = _exported(network, example)
        graph, tensors = _translated(network, program, example)
        with torch.no_grad():
            expected = _logits(network(example))
    _check_equal(graph, tensors, example, expected)
    return graph, tensors


def _example(example_input: Tensor) -> Tensor:
    if example_input.dim() != _IMAGE_BATCH_RANK or not example_input.is_floating_point():
        shape, dtype = tuple(example_input.shape), example_input.dtype
        raise ModpmError(
            "the example is not a batch of images",
            code="bad-example",
            why=f"it has the shape {shape} and the type {dtype}, not (N, C, H, W) of floats",
        )
    example = example_input.detach()[:2]
    return example if len(example) > 1 else torch.cat([example, example.flip(3)])


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its parts back as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _exported(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(_Logits(network).eval(), (example,), strict=False)
    except ModpmError:
        raise
    except Exception as error:
        raise _failure(error) from error


def _failure(error: Exception) -> ModpmError:
    """Explain why a network could not be run for tracing."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH_FOLDER, _OWN_FOLDER, "<"))
    ]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    why = str(error).strip().split("\n")[0]
    if "data-dependent" in str(error).lower():
        return ModpmError(
            "the network decides by the numbers in an image",
            code="unsupported-control-flow",
            where=where,
            why=why,
            hint="a network graph does the same for every image; decide by shapes or options",
        )
    return ModpmError("the network cannot be run", code="untraceable-network", where=where, why=why)


def user_line(node: fx.Node) -> str | None:
    """Return `file:line` of the user's code that made a node."""
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    own = [f for f in frames if not f["file"].startswith((_TORCH_FOLDER, _OWN_FOLDER))]
    return f"{own[-1]['file']}:{own[-1]['line']}" if own else None


def _translated(
    network: nn.Module, program: torch.export.ExportedProgram, example: Tensor
) -> tuple[Graph, dict[str, Tensor]]:
    _, channels, height, width = example.shape
    reserved = [name for name, _ in network.named_modules()]
    translator = Translator(HANDLERS, _INPUT, (channels, height, width), reserved)
    constants = _constants(program)
    for node in program.graph.nodes:
        try:
            if node.op == "placeholder":
                translator.place(node, constants.get(node.name))
            elif node.op == "call_function":
                translator.call(node)
            elif node.op == "output":
                output = translator.output(node)
        except UntranslatableError as error:
            raise _unsupported(node, error) from None
    nodes = _read(translator.nodes, output)
    names = {name for node in nodes for name in node.tensors.values()}
    tensors = {name: tensor for name, tensor in translator.tensors.items() if name in names}
    return Graph(_INPUT, (channels, height, width), nodes, output), tensors


def _read(nodes: Sequence[Node], output: str) -> tuple[Node, ...]:
    """Return the nodes that the output is computed from."""
    wanted = {output}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    return tuple(node for node in nodes if node.name in wanted)


def _unsupported(node: fx.Node, error: UntranslatableError) -> ModpmError:
    operator = str(node.target).removesuffix(".default")
    return ModpmError(
        f"a network graph cannot express the operator `{operator}`",
        code="unsupported-operator",
        where=user_line(node),
        why=str(error) or None,
        hint="`specs/graph.md` lists the operators that a network may use",
    )


def _constants(program: torch.export.ExportedProgram) -> dict[str, Constant]:
    """Return the tensors of a network by the names of their placeholders."""
    signature = program.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    values = {**program.constants, **program.state_dict}
    return {
        name: Constant(values[target].detach(), target.removeprefix("network."))
        for name, target in targets.items()
        if isinstance(values[target], Tensor)
    }


def _check_equal(
    graph: Graph, tensors: Mapping[str, Tensor], example: Tensor, expected: Tensor
) -> None:
    with torch.no_grad():
        found = build(graph, tensors).eval()(example)
    scale = float(expected.abs().max().clamp(min=1e-6)) if expected.numel() else 1.0
    if found.shape != expected.shape:
        _differs(f"shapes {tuple(found.shape)} and {tuple(expected.shape)}")
    if not bool(((found - expected).abs() <= RELATIVE_TOLERANCE * scale).all()):
        _differs(f"outputs differ by {float((found - expected).abs().max()):.3g}")


def _differs(why: str) -> None:
    raise ModpmError(
        "the graph that was read does not compute what the network does",
        code="untraceable-network",
        why=why,
        hint="a network that changes values in place, or keeps a state, cannot be read",
    )
