"""Latency estimated by the graph that a manifest has, and one measurement of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.estimating.machine import (
    Machine,
    estimate,
    keep_machine,
    kept_machine,
    machine_path,
    this_host,
    with_measured,
)
from modpm.core.formats.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.estimating.machine import Estimate
    from modpm.core.formats.network_graph import Graph


def measure_machine() -> Machine:
    """Measure how fast this machine's processor runs networks, and keep it for estimates.

    It takes less than a minute. What was measured of classifiers is forgotten.

    Raises:
        ModpmError: torch is not installed, or cannot be used (`not-measured`); the file cannot be
            written.
    """
    host = this_host()
    try:
        import torch  # noqa: PLC0415 -- slow to import, and not needed to estimate
    except (ImportError, OSError) as error:
        raise ModpmError(
            "this machine cannot be measured",
            code="not-measured",
            why=f"torch, which runs networks, cannot be used: {error}",
            hint="install it anew, for this machine: https://pytorch.org/get-started/locally",
        ) from error
    from modpm.core.costs.machine import measure_rates  # noqa: PLC0415 -- imports torch

    machine = Machine(host=host, n_threads=torch.get_num_threads(), rates=measure_rates())
    keep_machine(machine)
    return machine


def known_machine(report: Callable[[str], None] = lambda _sentence: None) -> Machine:
    """Return what was measured of this machine; it is measured where that was not yet done.

    Args:
        report: Is told so, and why, in sentences.

    Raises:
        ModpmError: As `measure_machine`.
    """
    try:
        return kept_machine()
    except ModpmError as error:
        this_host()  # without torch there is nothing to measure
        report(f"measuring this machine, for less than a minute: {error.why}")
    machine = measure_machine()
    report(f"kept in {machine_path()}")
    return machine


def estimate_latency(
    subject: Manifest | Classifier,
    report: Callable[[str], None] = lambda _sentence: None,
) -> tuple[list[Estimate], Machine]:
    """Estimate how long an image takes on this machine, at batch 1 and 64.

    Where `benchmark` measured the same networks here, that is what is returned. The machine is
    measured first where that was not yet done.

    Args:
        subject: The manifest of a class module, or a classifier.
        report: Is told what is done, in sentences.

    Returns:
        The estimates, and of which machine they are.

    Raises:
        ModpmError: As `measure_machine`; `invalid-graph`.
    """
    machine = known_machine(report)
    return estimate(graphs_of(subject), machine), machine


def latency_here(subject: Manifest | Classifier) -> tuple[list[Estimate], Machine] | None:
    """Return the same where this machine was measured, and None where it was not.

    Args:
        subject: The manifest of a class module, or a classifier.

    Raises:
        ModpmError: `invalid-graph`.
    """
    try:
        machine = kept_machine()
    except ModpmError:
        return None
    return estimate(graphs_of(subject), machine), machine


def graphs_of(subject: Manifest | Classifier) -> list[Graph]:
    """Return the networks of a class module or a classifier."""
    if isinstance(subject, Manifest):
        return [subject.graph]
    return [scorer.graph for scorer in subject.networks()]


def keep_latency(classifier: Classifier, seconds: Mapping[int, float]) -> bool:
    """Keep what a classifier takes on this machine, where the machine was measured itself.

    Args:
        classifier: What was measured.
        seconds: What one image took, by the size of batches.

    Returns:
        Whether it is kept.

    Raises:
        ModpmError: The file cannot be written.
    """
    try:
        machine = kept_machine()
    except ModpmError:
        return False
    keep_machine(with_measured(machine, graphs_of(classifier), seconds))
    return True
