"""How an estimated latency is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.estimating.machine import Estimate, Machine

    KnownLatency = tuple[Sequence[Estimate], Machine]


def latency_in_words(known: KnownLatency) -> str:
    """Return what an image takes, and how that is known."""
    estimates, machine = known
    times = ", ".join(
        f"{1000 * one.seconds:.3g} ms an image at batch {one.batch_size}" for one in estimates
    )
    is_measured = all(one.is_measured for one in estimates)
    how = "measured here" if is_measured else "estimated"
    return f"{times} ({how}, for {machine.in_words})"


def latency_data(known: KnownLatency | None) -> dict[str, Any] | None:
    """Return the same as JSON has it; None where it is not known."""
    if known is None:
        return None
    estimates, machine = known
    return {
        "estimates": [
            {
                "batch_size": one.batch_size,
                "milliseconds": 1000 * one.seconds,
                "is_measured": one.is_measured,
            }
            for one in estimates
        ],
        "processor": machine.host.processor,
        "n_threads": machine.n_threads,
    }
