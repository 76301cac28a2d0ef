"""Runs on the digits that take a second, and Ctrl-C in the midst of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from modpm.core.errors import ModpmError
from modpm.core.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modpm.core.training.run import Run
    from modpm.core.training.session import Progress

# Few training images, most being held out: an epoch is four steps.
SMALL: dict[str, Any] = {
    "epochs": 3,
    "lr": 0.1,
    "batch_size": 64,
    "val_fraction": 0.8,
    "width": 0.5,
}


def train_small(output: Path, **settings: Any) -> Run:  # noqa: ANN401 -- passed on as they are
    return train("digits", "digits_cnn", output=output, **(SMALL | settings))


@dataclass
class InterruptAt:
    """Ctrl-C in the middle of an epoch, or at its end."""

    epoch: int
    step: int = 2

    def __call__(self, progress: Progress) -> None:
        if (progress.epoch, progress.step) == (self.epoch, self.step):
            raise KeyboardInterrupt


def refused(action: Callable[[], object], code: str) -> ModpmError:
    with pytest.raises(ModpmError) as refusal:
        action()
    assert refusal.value.code == code
    return refusal.value
