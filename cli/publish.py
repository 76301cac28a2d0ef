"""`modpm publish`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.module_table import COLUMNS, module_data, module_row
from modpm.cli.output import emit, say, table
from modpm.registry.publishing import publish


@click.command(
    "publish",
    epilog="Example: modpm publish dist/cifar10 --registry /srv/modules",
)
@click.argument(
    "distributions", nargs=-1, required=True, metavar="DIST...", type=click.Path(path_type=Path)
)
@click.option(
    "--registry",
    metavar="PATH",
    help="The folder to publish to; by default $MODPM_REGISTRY, or else $MODPM_HOME/registry.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the releases as JSON.")
def command(distributions: tuple[Path, ...], registry: str | None, as_json: bool) -> None:
    """Publish distributions: all of them, or none.

    DIST is a distribution, or a folder of distributions as `modpm modularize` makes. A release
    never changes: publishing the same bytes again does nothing, and other bytes need another
    version.
    """
    published = publish(distributions, registry)
    if as_json:
        emit({"modules": [{**module_data(p), "is_new": p.is_new} for p in published]})
        return
    states = ["published" if p.is_new else "already published" for p in published]
    rows = [[*module_row(p), state] for p, state in zip(published, states, strict=True)]
    table(rows, [*COLUMNS, "state"])
    say(f"{sum(p.is_new for p in published)} published to {published[0].registry}")
