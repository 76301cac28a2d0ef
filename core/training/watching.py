"""Logs of a run for programs that people watch training with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modpm.core.training.session import Progress

TENSORBOARD = "tensorboard"
LOGS = (TENSORBOARD,)


def check_log(kind: str | None) -> None:
    """Check that a log can be written.

    Args:
        kind: One of `LOGS`; None for none.

    Raises:
        ModpmError: There is no such kind (`bad-setting`), or its package is not installed
            (`missing-extra`).
    """
    if kind is not None:
        _writer_of(kind)


def _writer_of(kind: str) -> Any:  # noqa: ANN401 -- torch has no types of it
    if kind not in LOGS:
        raise ModpmError(
            f"no log is called `{kind}`",
            code="bad-setting",
            hint=f"take {', '.join(LOGS)}",
            exit_code=2,
        )
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 -- an extra of the package
    except ModuleNotFoundError as error:
        raise ModpmError(
            "a log for TensorBoard needs the package `tensorboard`",
            code="missing-extra",
            hint='install it with `pip install "modpm[tensorboard]"`',
        ) from error
    return SummaryWriter


@contextmanager
def watched(
    kind: str | None, run: Path, progress: Callable[[Progress], None] | None
) -> Iterator[Callable[[Progress], None] | None]:
    """Give what is to be called after each step and epoch: it writes a log of the epochs, too.

    Args:
        kind: One of `LOGS`; None for none.
        run: The run's folder, which gets a folder of the log's name.
        progress: Called as well.

    Raises:
        ModpmError: As `check_log`.
    """
    if kind is None:
        yield progress
        return
    with _writer_of(kind)(str(run / kind)) as writer:

        def tell(how_far: Progress) -> None:
            for name, value in (how_far.metrics or {}).items():
                if name != "epoch" and isinstance(value, int | float):
                    writer.add_scalar(name, value, how_far.epoch)
            if how_far.metrics is not None:
                writer.flush()  # for whoever watches
            if progress is not None:
                progress(how_far)

        yield tell
