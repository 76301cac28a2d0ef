"""`modpm key`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.output import emit, say, show
from modpm.cli.passphrase import choose_passphrase


@click.group("key", epilog="Example: modpm key new -o modules.pem")
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
    "with_passphrase",
    is_flag=True,
    help="Ask for a passphrase that encrypts it; $MODPM_KEY_PASSPHRASE gives one unasked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the key's id and files as JSON.")
def new(output: Path | None, with_passphrase: bool, as_json: bool) -> None:
    """Make a key that signs releases (ECDSA, secp256r1).

    The private key is for you alone: who has it can sign in your name. The public key, beside it
    with the ending .pub, is for those who install your modules.
    """
    from modpm.registry.signing.keys import new_key, public_key_path  # noqa: PLC0415 -- the same
    from modpm.registry.system.errors import explained  # noqa: PLC0415 -- the same
    from modpm.registry.system.home import home  # noqa: PLC0415 -- not for `--help`

    path = (output or home() / "keys" / "signing.pem").absolute()
    with explained("write the key"):
        public = new_key(path, choose_passphrase(prompt=with_passphrase))
    if as_json:
        emit(
            {
                "key_id": public.key_id,
                "private_key": str(path),
                "public_key": str(public_key_path(path)),
            }
        )
        return
    show(public.key_id)
    say(f"private key: {path} (keep it secret, and keep a copy)")
    say(f"public key:  {public_key_path(path)} (give it to those who install your modules)")
