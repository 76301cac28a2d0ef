"""`modpm benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.completion import installed_names
from modpm.cli.options import device_option
from modpm.cli.output import emit, say, show, table
from modpm.core.formats.records import to_plain

if TYPE_CHECKING:
    from modpm.core.costs.latency import Quartiles
    from modpm.verbs.benchmarking import Benchmark


@click.command("benchmark", epilog="Example: modpm benchmark pets --origin runs/cifar10")
@click.argument("subject", required=False, shell_complete=installed_names, metavar="[COMPOSITION]")
@click.option(
    "--machine",
    is_flag=True,
    help="Measure the machine itself, for estimates (`modpm info --latency`).",
)
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
    *,
    subject: str | None,
    machine: bool,
    origins: tuple[str, ...],
    n: int,
    device: str,
    project: str,
    as_json: bool,
) -> None:
    """Time an image on this machine, at batch 1 and 64, against the origin.

    COMPOSITION is the folder of a classifier, of a run or of a distribution, or an installed name.
    It and the networks that its modules were cut from take turns; shown is the median, and between
    which times half of the runs lie.

    With --machine and without COMPOSITION, some hundred small layers are timed on the processor,
    in less than a minute. By them the latency of modules is estimated that are not here yet; where
    a COMPOSITION was timed, that is told instead.
    """
    if machine is (subject is not None):
        raise click.UsageError("Name either COMPOSITION or '--machine'.")
    if subject is None:
        _measure_machine(as_json=as_json)
        return
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


def _measure_machine(*, as_json: bool) -> None:
    from modpm.core.estimating.machine import machine_path  # noqa: PLC0415 -- as below
    from modpm.verbs.estimating import measure_machine  # noqa: PLC0415 -- so that --help is quick

    say("timing layers, for less than a minute")
    found = measure_machine()
    if as_json:
        emit(to_plain(found))
    else:
        show(f"measured: {found.in_words}")
        say(f"kept in {machine_path()}; `modpm info NAME --latency` estimates by it")


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
    if found.is_kept:
        say("kept: estimates of the latency of these networks are replaced by it")
    if found.missing:
        digests = ", ".join(digest[:19] for digest in found.missing)
        say(
            f"the origin {digests} is not known here: name it by --origin, with its run or a "
            "distribution of one of its modules"
        )
