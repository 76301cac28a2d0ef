"""Training as a user sees it: how far it is, and what it goes on with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from click.core import ParameterSource

from modpm.cli.output import is_quiet, is_terminal
from modpm.cli.progress_lines import Estimate, Lines
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import click

    from modpm.core.training.session import Progress


def with_settings_of(
    run: str | Path, ctx: click.Context, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Take from a run what the command line leaves out.

    Args:
        run: Its folder.
        ctx: Knows what was said.
        settings: Those of the command.
    """
    from modpm.core.training.run import Run  # noqa: PLC0415 -- so that --help needs no torch

    config = Run.open(run).config
    return {
        name: value
        if not hasattr(config, name)  # the device: a run may go on elsewhere
        or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        else getattr(config, name)
        for name, value in settings.items()
    }


def is_main_process() -> bool:
    """Say whether this process is the one that speaks."""
    from accelerate import PartialState  # noqa: PLC0415 -- as above

    return bool(PartialState().is_main_process)


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None] | None]:
    """Give what shows progress: a bar on a terminal, elsewhere a line every so often."""
    estimate = Estimate()
    if not is_terminal() or is_quiet():
        lines = Lines()

        def tell(progress: Progress) -> None:
            line = _line(progress, estimate)
            if line is None:
                lines.tell(lambda: _place(progress))
            else:
                lines.say(line)

        yield tell
        return
    from rich.console import Console  # noqa: PLC0415 -- only where there is a terminal
    from rich.progress import Progress as Bars  # noqa: PLC0415 -- the same

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("training", total=None)

        def report(progress: Progress) -> None:
            total = progress.n_epochs * progress.n_steps
            done = (progress.epoch - 1) * progress.n_steps + progress.step
            bars.update(task, total=total, completed=done, description=_place(progress))
            if (line := _line(progress, estimate)) is not None:
                bars.console.print(line, highlight=False, markup=False)

        yield report


def _place(progress: Progress) -> str:
    of = f"epoch {progress.epoch}/{progress.n_epochs}"
    step = f", step {progress.step:,} of {progress.n_steps:,}" if progress.metrics is None else ""
    return f"{of}{step}, loss {progress.loss:.3f}"


def _line(progress: Progress, estimate: Estimate) -> str | None:
    """Return what is said whatever was said before, if there is something."""
    sentence = estimate.of(progress)
    return sentence if progress.metrics is None else _epoch_line(progress, progress.metrics)


def _epoch_line(progress: Progress, metrics: Mapping[str, float]) -> str:
    parts = [_place(progress), f"{Percent(metrics['val_accuracy'])} on held-out images"]
    if "val_balanced_accuracy" in metrics:
        parts[-1] += f" (balanced {Percent(metrics['val_balanced_accuracy'])})"
    if "kernel_retention_rate" in metrics:
        parts.append(f"retention rate {Percent(metrics['kernel_retention_rate'])}")
    return ", ".join([*parts, f"{metrics['seconds']:.1f} s"])
