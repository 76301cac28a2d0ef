"""`modpm benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.completion import installed_names
from modpm.cli.options import device_option
from modpm.cli.output import emit, say, table

if TYPE_CHECKING:
    from modpm.core.costs.latency import Quartiles
    from modpm.verbs.benchmarking import Benchmark


@click.command("benchmark", epilog="Example: modpm benchmark pets --origin runs/cifar10")
@click.argument("subject", shell_complete=installed_names, metavar="COMPOSITION")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="RUN_OR_DIST",
    show_default="as the installed modules know it",
    help="A run, or a distribution of one of its modules, to time it against; may be given again.",
)
@click.option("-n", default=30, show_default=True, help="How many times each is run.")
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
def command(
    *, subject: str, origins: tuple[str, ...], n: int, device: str, project: str, as_json: bool
) -> None:
    """Time an image on this machine, at batch 1 and 64, against the origin.

    COMPOSITION is the folder of a classifier, of a run or of a distribution, or an installed name.
    It and the networks that its modules were cut from take turns; shown is the median, and between
    which times half of the runs lie.
    """
    from modpm.verbs.benchmarking import benchmark  # noqa: PLC0415 -- so that --help needs no torch

    found = benchmark(subject, origins=origins, n=n, device=device, project=project)
    if as_json:
        emit(found.to_json())
        return
    rows = [
        [
            one.batch_size,
            _shown(one.seconds, 1000),
            _shown(one.origin_seconds, 1000),
            _shown(one.ratio, 1),
        ]
        for one in found.latencies
    ]
    table(rows, ("batch", "ms an image", "origin, ms an image", "ratio"))
    _explain(found)


def _shown(measured: Quartiles | None, factor: float) -> str | None:
    if measured is None:
        return None
    low, median, high = (f"{value * factor:.3g}" for value in measured)
    return f"{median} ({low} to {high})"


def _explain(found: Benchmark) -> None:
    say(
        f"{found.n} runs each in turns, on {found.device} with {found.n_threads} threads; "
        "in brackets the quartiles"
    )
    if found.origin_macs:
        share = found.macs / found.origin_macs
        say(f"{found.macs:,} multiply-accumulates an image, {share:.2f} times those of the origin")
    if found.missing:
        digests = ", ".join(digest[:19] for digest in found.missing)
        say(
            f"the origin {digests} is not known here: name it by --origin, with its run or a "
            "distribution of one of its modules"
        )
