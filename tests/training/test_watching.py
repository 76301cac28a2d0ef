"""Logs for programs that people watch training with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.modularizing.small_run import train_small

from modpm.core.errors import ModpmError
from modpm.core.training.watching import check_log

if TYPE_CHECKING:
    from pathlib import Path


def test_epochs_are_written_for_tensorboard_and_told_as_well(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told: list[int] = []
    run = train_small(
        tmp_path / "run", epochs=2, method="plain", log="tensorboard",
        progress=lambda progress: told.append(progress.epoch),
    )  # fmt: skip
    log = events.EventAccumulator(str(run.folder / "tensorboard"))
    log.Reload()
    assert {"loss", "val_accuracy", "seconds", "joules"} <= set(log.Tags()["scalars"])
    for name in ("loss", "val_accuracy"):
        points = [(one.step, one.value) for one in log.Scalars(name)]
        assert points == [
            (line["epoch"], pytest.approx(line[name], rel=1e-6)) for line in run.metrics()
        ]
    assert set(told) == {1, 2}


def test_a_log_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for log, code in (("tensorboard", "missing-extra"), ("wandb", "bad-setting")):
        with pytest.raises(ModpmError) as refusal:
            train_small(tmp_path / "run", log=log)
        assert refusal.value.code == code
    assert not (tmp_path / "run").exists()
    check_log(None)
