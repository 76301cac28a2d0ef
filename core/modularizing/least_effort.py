"""The least effort whose modules are good enough at the size that is asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError
from modpm.core.modularizing.choice import Choice, Search
from modpm.core.modularizing.description import Describer
from modpm.core.system.energy import duration
from modpm.core.training.effort import EFFORTS, TRAIN, passes_to_train

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.modularizing.description import ReleaseDetails
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.evidence import Cutoff, Evidence


class Asked(NamedTuple):
    """What modules must be.

    Attributes:
        cutoff: Says how many kernels a class keeps.
        budget: Most points of accuracy that their composition may lose.
        calibration: The name of one, or `auto`.
        details: What is the same for all releases.
        to_train: The command that trains the network, which no effort here does.
    """

    cutoff: Cutoff | None
    budget: float
    calibration: str
    details: ReleaseDetails
    to_train: str


def least_effort(
    origin: OriginNetwork,
    asked: Asked,
    progress: Callable[[str, int, int], None],
    report: Callable[[str], None],
) -> tuple[OriginNetwork, Evidence, Choice]:
    """Try one effort after the other on the held-out images, until one is good enough.

    Args:
        origin: The network.
        asked: What modules must be.
        progress: Told how far it is.
        report: Is told, in sentences, what each effort costs or would, and what it loses.

    Returns:
        The network as that effort knows it, which kernels its classes keep, and what was cut.

    Raises:
        ModpmError: None is good enough (`budget-not-met`); no size is asked for (`bad-setting`).
    """
    if asked.cutoff is None:
        raise ModpmError(
            "an effort is chosen for one size",
            code="bad-setting",
            hint="leave out `--threshold auto`, or name an effort",
            exit_code=2,
        )
    costs, lost = _costs(origin), dict[str, float]()
    report("; ".join(f"effort {name}: about {duration(cost)}" for name, cost in costs.items()))
    for name, effort in EFFORTS.items():
        one = replace(origin, trained=replace(origin.trained, effort=effort))
        evidence = one.evidence(partial(progress, f"effort {name}"))
        describer = Describer(one, asked.details)
        cutting = partial(progress, f"effort {name}, cutting class modules")
        search = Search(one, evidence, describer, asked.calibration, math.inf, cutting)
        choice = search.run(lambda _done, _of: None, [asked.cutoff])
        lost[name] = choice.curve[0].accuracy_loss
        report(f"effort {name} loses {lost[name]:.2f} points at {asked.cutoff}")
        if lost[name] <= asked.budget:
            return one, evidence, replace(choice, curve=())
    raise ModpmError(
        f"no effort keeps the composition within {asked.budget:g} points of the network",
        code="budget-not-met",
        why="\n".join(f"effort {name}: {points:.2f} points lost" for name, points in lost.items()),
        hint=f"allow `--budget {min(lost.values()):.2f}` or a higher `--retention`, or train the "
        f"network, in about {duration(costs[TRAIN])}, by {asked.to_train}",
    )


def _costs(origin: OriginNetwork) -> dict[str, float]:
    """Return about how many seconds each effort takes, by what one pass does."""
    seconds = origin.seconds_a_pass()
    n_classes, n_training = len(origin.classes), len(origin.trained.images.training_data())
    costs = {name: one.passes(n_classes) * seconds for name, one in EFFORTS.items()}
    return {**costs, TRAIN: passes_to_train(n_training) * seconds}
