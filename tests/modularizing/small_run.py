"""A modular run on the digits that takes seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modpm.core.training import learned_masks
from modpm.core.training.effort import EFFORTS, GRADIENT
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from modpm.core.training.run import Run


def train_small(
    folder: Path,
    *,
    epochs: int = 8,
    method: str = "mwt",
    retention: float = 0.32,
    **settings: Any,  # noqa: ANN401 -- passed on
) -> Run:
    """Train a narrow network for a few epochs; a third of its training data is held out."""
    return train(
        "digits",
        "digits_cnn",
        output=folder,
        width=0.5,
        epochs=epochs,
        lr=0.1,
        batch_size=64,
        val_fraction=0.3,
        method=method,
        retention=retention,
        **settings,
    )


def learn_in_few_steps(monkeypatch: pytest.MonkeyPatch, correction_steps: int = 2) -> None:
    """Let the effort `gradient` take next to no time."""
    monkeypatch.setattr(learned_masks, "N_STEPS", 3)
    few = replace(EFFORTS[GRADIENT], correction_steps=correction_steps)
    monkeypatch.setitem(EFFORTS, GRADIENT, few)
