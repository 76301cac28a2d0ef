"""`modpm pack`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.options import json_option, project_option
from modpm.cli.output import counted, emit, say, show


@click.command(
    "pack",
    epilog="Example: modpm pack pets --name acme/pets --version 1.0.0 --license CC-BY-4.0 "
    "-o dist/pets",
)
@click.argument("classifier", metavar="CLF", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="Its name, such as acme/pets.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the release.")
@click.option(
    "--license",
    "license",
    default="LicenseRef-unstated",
    show_default=True,
    metavar="SPDX",
    help="License of the composition; its class modules keep theirs.",
)
@click.option("--summary", default="", metavar="TEXT", help="One line about it.")
@click.option("--author", "authors", multiple=True, metavar="NAME", help="May be given again.")
@project_option
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIST",
    type=click.Path(path_type=Path),
    help="The folder for the distribution, to be made.",
)
@json_option
def command(
    *,
    classifier: Path,
    name: str,
    version: str,
    license: str,
    summary: str,
    authors: tuple[str, ...],
    project: str,
    output: Path,
    as_json: bool,
) -> None:
    """Make a distribution of a composed classifier, to be published like a class module.

    CLF is a folder that `modpm compose` made of what is installed in the project. DIST gets a
    manifest that requires the same releases of its class modules, a card and a license, and no
    weights: whoever installs it gets its class modules, and composing it gives this classifier.
    """
    from modpm.verbs.packing import pack  # noqa: PLC0415 -- so that --help needs no torch

    made = pack(
        classifier,
        name,
        output,
        version,
        license=license,
        summary=summary,
        authors=authors,
        project=project,
    )
    manifest = made.manifest
    if as_json:
        emit(
            {
                "name": manifest.name,
                "version": manifest.version,
                "digest": made.digest,
                "path": str(output),
                "requires": manifest.requires,
            }
        )
        return
    for requirement in manifest.requires:
        show(requirement)
    say(
        f"{output}: {manifest.name} {manifest.version}, a composition of "
        f"{counted(len(manifest.requires), 'class module')}, {made.digest}"
    )
