"""Keeping pins: when a lockfile meets what is asked as it is, no registry needs to be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modpm.registry.projects.lockfile import Lockfile
from modpm.registry.projects.requirement_graph import RequirementGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.requirements import Requirement


def kept(
    lock: Lockfile, requirements: Sequence[Requirement], *, same_origin: bool
) -> Lockfile | None:
    """Return the part of a lockfile that requirements need, if it meets all of them.

    Resolving with the pins as preferences would choose the same: a pin that still satisfies what
    is asked stays.

    Args:
        lock: The lockfile.
        requirements: What is asked for.
        same_origin: As in `modpm.toml`.

    Returns:
        The lockfile of these requirements; None if a registry has to be asked.
    """
    graph = RequirementGraph(replace(lock, requirements=tuple(map(str, requirements))))
    locked = set(lock.requirements)
    new = [requirement for requirement in requirements if str(requirement) not in locked]
    # Which origins there are only registries know.
    if same_origin and (new or not lock.same_origin):
        return None
    # What a tag or a namespace means only registries know.
    if any(one.module is None or one.tag is not None for one in new) or any(graph.unmet()):
        return None
    pins = [pin for pin in lock.pins if pin.module in graph.reached]
    return Lockfile.of(requirements, pins, same_origin=same_origin, signers=lock.signers)
