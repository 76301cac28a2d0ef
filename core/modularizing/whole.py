"""Class modules that keep all of their network: those of its classes, fused, are the network again.

Nothing is chosen and nothing is lost, so that an ordinary network can be a part of a composition.
What unusual images lose (M-30) is left out: the network as it was takes nothing off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.formats.distribution import write_distribution
from modpm.core.modularizing.description import Describer, files_of, shared_tensors
from modpm.core.modularizing.fitting import findings_of, fit_networks, measure_networks
from modpm.core.training.evidence import Cutoff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.core.modularizing.description import ReleaseDetails
    from modpm.core.origins.origin import OriginNetwork

CALIBRATION = "platt"
"""How scores are made: of the logit alone, for a whole network has no better features."""


def write_whole(
    origin: OriginNetwork, details: ReleaseDetails, classes: Sequence[int], folder: Path
) -> list[Distribution]:
    """Write a distribution for each of some classes of a network.

    Args:
        origin: The network.
        details: What is the same for all releases.
        classes: Positions of its outputs.
        folder: It gets a folder for each.

    Returns:
        Those of the classes, in their order.
    """
    networks = fit_networks(origin, {}, CALIBRATION, _say_nothing, has_penalty=False)
    measured = measure_networks(origin, networks, _say_nothing)
    describer = Describer(origin, details, origin.test_accuracy)
    found = findings_of(describer, networks, measured)
    shared = shared_tensors([networks[i].stored for i in classes])
    written = []
    for i in classes:
        manifest = describer.manifest(networks[i], Cutoff(retention=1.0), found[i])
        files = files_of(networks[i].stored, manifest, shared)
        written.append(write_distribution(folder / details.names[i].name, manifest, files))
    return written


def _say_nothing(_done: int, _of: int) -> None:
    pass
