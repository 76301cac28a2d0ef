"""`modpm key`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.groups import Group
from modpm.cli.output import emit, say, show
from modpm.cli.passphrase import choose_passphrase


@click.group("key", cls=Group, epilog="Example: modpm key new -o modules.pem")
def command() -> None:
    """Make keys that sign releases."""


@command.command("new", epilog="Example: modpm key new -o ~/keys/modpm.pem")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file for the private key; by default $MODPM_HOME/keys/signing.pem.",
)
@click.option(
    "--passphrase",
    is_flag=True,
    help="Ask for a passphrase that encrypts it; $MODPM_KEY_PASSPHRASE gives one unasked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the key's id and files as JSON.")
def new(output: Path | None, passphrase: bool, as_json: bool) -> None:
    """Make a key that signs releases (ECDSA, secp256r1).

    The private key is for you alone: who has it can sign in your name. The public key, beside it
    with the ending .pub, is for those who install your modules.
    """
    from modpm.verbs import key  # noqa: PLC0415 -- not for `--help`

    made = key.new(output, choose_passphrase(prompt=passphrase))
    if as_json:
        emit({name: str(value) for name, value in made._asdict().items()})
        return
    show(made.key_id)
    say(f"private key: {made.private_key} (keep it secret, and keep a copy)")
    say(f"public key:  {made.public_key} (give it to those who install your modules)")
