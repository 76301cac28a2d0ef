"""The progress bar of downloads: on a terminal only, on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modpm.cli.output import is_quiet, is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bar

    from modpm.registry.installing.fetching import Progress


@contextmanager
def download_bar() -> Iterator[Progress | None]:
    """Give what tells how far downloads are; None where nobody would see it.

    The bar appears with the first bytes that must arrive, and not if there are none.
    """
    if is_quiet() or not is_terminal():
        yield None
        return
    bars: list[Bar] = []

    def show(n_bytes: int, total_bytes: int) -> None:
        if not bars:
            bars.append(_bar())
            bars[0].start()
            bars[0].add_task("", total=total_bytes)
        bars[0].update(bars[0].task_ids[0], completed=n_bytes)

    try:
        yield show
    finally:
        for bar in bars:
            bar.stop()


def _bar() -> Bar:
    # Imported when a download begins: no command that has everything waits for it.
    from rich.console import Console  # noqa: PLC0415 -- only where there is a terminal
    from rich.progress import (  # noqa: PLC0415 -- the same
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(file=sys.stderr), transient=True)
