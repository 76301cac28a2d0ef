"""`modpm install`."""

from __future__ import annotations

from typing import Unpack

import click

from modpm.cli.completion import known_names
from modpm.cli.installation_report import report_installation
from modpm.cli.options import Choosing, choosing_options
from modpm.cli.progress_bar import download_bar
from modpm.core.formats.release_files import VARIANTS
from modpm.registry.installing.installation import install


@click.command(
    "install",
    epilog='Example: modpm install cifar10/cat "cifar10/dog>=1.2,<2" "mnist/*"',
)
@click.argument("requirements", shell_complete=known_names, nargs=-1, metavar="[REQ]...")
@click.option("--locked", is_flag=True, help="Fail if modpm.lock would have to change.")
@click.option(
    "--frozen", is_flag=True, help="Install modpm.lock as it is, whatever modpm.toml says."
)
@click.option(
    "--no-save",
    "save",
    flag_value=False,
    default=True,
    help="Write neither modpm.toml nor modpm.lock.",
)
@click.option(
    "--variant",
    type=click.Choice(VARIANTS),
    help="Take the variant of each module that is named: int8, weights and values of 8 bits.",
)
@choosing_options
def command(
    *,
    requirements: tuple[str, ...],
    locked: bool,
    frozen: bool,
    save: bool,
    variant: str | None,
    as_json: bool,
    **options: Unpack[Choosing],
) -> None:
    """Install class modules into this project.

    REQ is a module (cifar10/cat), perhaps with versions (cifar10/cat>=1.2,<2) or a tag
    (cifar10/cat@stable), or a whole namespace (cifar10/*). The newest releases that fit are
    verified, installed into .modpm/, pinned in modpm.lock, and asked for in modpm.toml.
    Modules that are pinned already stay as they are. Without REQ, installs what modpm.toml and
    modpm.lock say.

    Of what came, it says what the installed modules of the same origins cost together: one by
    one, with what they share counted once, and the networks that they were cut from. Bytes are
    those of all files, and of an origin its tensors.
    """
    with download_bar() as progress:
        installation = install(
            requirements,
            locked=locked,
            frozen=frozen,
            save=save,
            variant=variant,
            progress=progress,
            **options,
        )
    report_installation(installation, as_json=as_json, dry_run=options["dry_run"], counts=True)
