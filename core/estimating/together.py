"""What several class modules cost together, by their manifests and without their tensors.

Class modules of one origin have layers in common which were not cut: one file of them serves all
(clause M-29), and side by side they are computed once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from modpm.core.estimating.cost import CONSTANT_ROLES, Cost
from modpm.core.estimating.sizes import Shape, value_sizes
from modpm.core.estimating.work import multiply_accumulates
from modpm.core.formats.manifest import Manifest, Origin, OutputContract, RetainedKernels
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.formats.records import said_in
from modpm.core.formats.release_files import SHARED_FILE, FileRecord


class Described(msgspec.Struct, frozen=True):
    """What counting reads of the manifest of a class module."""

    origin: Origin
    graph: Graph
    output: OutputContract
    retained: dict[str, RetainedKernels]
    n_parameters: int
    macs: int


class Member(NamedTuple):
    """A class module that is counted.

    Attributes:
        manifest: What its manifest says, or as much of it as is read here.
        files: All files that whoever uses it has.
    """

    manifest: Manifest | Described
    files: Mapping[str, FileRecord]


class Together(NamedTuple):
    """What class modules cost.

    Attributes:
        n_modules: How many they are.
        n_origins: How many networks they were cut from.
        one_by_one: Each by itself, added up.
        together: Side by side, with what they share counted once, as far as that is known.
        origins: The networks that they were cut from, each once; their bytes are of tensors.
    """

    n_modules: int
    n_origins: int
    one_by_one: Cost
    together: Cost
    origins: Cost


def described(data: bytes) -> Described:
    """Return what counting reads of a manifest that was verified before.

    Args:
        data: The bytes of `manifest.json`.
    """
    return said_in(data, Described)


def cost_together(members: Sequence[Member]) -> Together:
    """Count what class modules cost together; their bytes are those of all files.

    Args:
        members: One or more.

    Raises:
        ModpmError: As `value_sizes`.
    """
    apart = [_alone(one) for one in members]
    shared = [_shared(some) for some in _cut_alike(members)]
    once = {record.digest: record.size_bytes for one in members for record in one.files.values()}
    origins = {one.manifest.origin.digest: one.manifest.origin for one in members}
    one_by_one, spared = Cost.total(apart), Cost.total(shared)
    return Together(
        n_modules=len(members),
        n_origins=len(origins),
        one_by_one=one_by_one,
        together=Cost(
            n_parameters=one_by_one.n_parameters - spared.n_parameters,
            macs=one_by_one.macs - spared.macs,
            size_bytes=sum(once.values()),
        ),
        origins=Cost.total(map(origin_cost, origins.values())),
    )


def origin_cost(origin: Origin) -> Cost:
    """Return what a network costs, by the manifest of a module that was cut from it."""
    return Cost(n_parameters=origin.n_parameters, macs=origin.macs, size_bytes=origin.size_bytes)


def overlap(a: Manifest, b: Manifest) -> float:
    """Return the Jaccard index of the kernels that two modules retain."""
    mine, theirs = _kernels(a), _kernels(b)
    return len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0


def _kernels(manifest: Manifest) -> set[tuple[str, int]]:
    return {(name, one) for name, kept in manifest.retained.items() for one in kept.retained}


def _alone(one: Member) -> Cost:
    return Cost(
        n_parameters=one.manifest.n_parameters,
        macs=one.manifest.macs,
        size_bytes=sum(record.size_bytes for record in one.files.values()),
    )


def _cut_alike(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Give the members of each origin that begin with the same file of shared tensors, or none."""
    groups: dict[object, list[Member]] = {}
    for one in members:
        shared = one.files.get(SHARED_FILE)
        key = one.manifest.origin.digest, shared and shared.digest
        groups.setdefault(key, []).append(one)
    yield from groups.values()


def _shared(members: Sequence[Member]) -> Cost:
    """Return what is counted too often where each of some members is counted by itself."""
    graph, common = members[0].manifest.graph, _common(members)
    shapes, n_spared = value_sizes(graph), len(members) - 1
    nodes = [node for node in graph.nodes if node.name in common]
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes |= _parameters(node, [shapes[name] for name in node.inputs], shapes[node.name])
    return Cost(
        n_parameters=n_spared * sum(sizes.values()),
        macs=n_spared * sum(multiply_accumulates(node, shapes) for node in nodes),
        size_bytes=0,  # files tell
    )


def _common(members: Sequence[Member]) -> set[str]:
    """Return the nodes of which manifests tell that all members compute the same."""
    first, *others = (one.manifest for one in members)
    theirs = [{node.name: node for node in one.graph.nodes} for one in others]
    whole = {node.name: node for node in first.origin.graph.nodes}
    penalty = _penalty(first) if SHARED_FILE in members[0].files else set()
    common = {first.graph.input}
    for node in first.graph.nodes:
        kept = first.retained.get(node.name)
        is_alike = all(own.get(node.name) == node for own in theirs)
        are_kept_alike = all(one.retained.get(node.name) == kept for one in others)
        # What is fitted to a class, or cut to its output, has equal nodes and other numbers.
        is_of_all = node.name in penalty or kept is not None or node == whole.get(node.name)
        if is_alike and are_kept_alike and (is_of_all or not node.tensors):
            common |= {node.name} if common >= {*node.inputs} else set()
    return common - {first.graph.input}


def _penalty(manifest: Manifest | Described) -> set[str]:
    """Return the nodes of what is taken off for unusual images, the same in all cut together."""
    name = manifest.output.penalty
    if not isinstance(name, str):
        return set()
    return msgspec.structs.replace(manifest.graph, output=name).live()


def _parameters(node: Node, inputs: Sequence[Shape], output: Shape) -> dict[str, int]:
    """Return how many numbers each tensor has that training may change, by its name."""
    return {
        name: _numbers(node, role, inputs[0], output)
        for role, name in node.tensors.items()
        if role not in CONSTANT_ROLES
    }


def _numbers(node: Node, role: str, read: Shape, output: Shape) -> int:
    if node.operator == "pixel_affine":
        return math.prod(read)
    if node.operator not in {"conv2d", "linear"}:
        return read[0]
    if role != "weight":
        return output[0]
    attributes: dict[str, Any] = node.attributes
    area = math.prod(attributes.get("kernel_size", [1]))
    return output[0] * (read[0] // int(attributes.get("groups", 1))) * int(area)
