"""`modpm yank`."""

from __future__ import annotations

import click

from modpm.cli.options import allow_http_option, target_registry_option
from modpm.cli.output import emit, say
from modpm.core.errors import ModpmError
from modpm.registry.publication.changing import ReleaseName, unyank, yank


@click.command("yank", epilog='Example: modpm yank cifar10/cat==1.2.0 --reason "labels swapped"')
@click.argument("release", metavar="NAME==VERSION")
@click.option("--reason", metavar="TEXT", help="Why; whoever has the release is shown it.")
@click.option("--undo", is_flag=True, help="Take it back.")
@target_registry_option
@allow_http_option
@click.option("--json", "as_json", is_flag=True, help="Print what is now listed as JSON.")
def command(
    release: str, reason: str | None, undo: bool, registry: str | None, as_json: bool
) -> None:
    """Keep a release from being installed anew.

    Nothing is deleted: projects that have locked the release keep it, and are told the reason.
    """
    if (reason is None) == (not undo):
        raise ModpmError(
            "a yank needs a reason, and taking one back needs none",
            code="usage",
            hint="give either `--reason TEXT` or `--undo`",
            exit_code=2,
        )
    listed = yank(release, reason, registry) if reason is not None else unyank(release, registry)
    name = ReleaseName.parse(release)
    if as_json:
        emit({"name": str(name.module), "version": listed.version, "yanked": listed.yanked})
    elif listed.yanked is None:
        say(f"{name.module} {listed.version} is not yanked")
    else:
        say(f"{name.module} {listed.version} is yanked: {listed.yanked}")
