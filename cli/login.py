"""`modpm login`."""

from __future__ import annotations

import os
import sys

import click

from modpm.cli.options import allow_http_option
from modpm.cli.output import say


@click.command("login", epilog="Example: modpm login; printf %s $TOKEN | modpm login --token-stdin")
@allow_http_option
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
def command(*, token_stdin: bool) -> None:
    """Log in to the Hugging Face Hub.

    The token is kept where the Hub's other programs keep theirs (`hf auth`), and is shown
    nowhere.
    """
    from modpm.registry.backends.hub.login import login  # noqa: PLC0415 -- not for `--help`

    if token_stdin:
        token = sys.stdin.readline()
    else:
        token = click.prompt("Token of the Hub (not shown)", hide_input=True, err=True)
    identity = login(token)
    say(f"logged in to {identity.endpoint} as {identity.name}")
    if os.environ.get("HF_TOKEN"):
        say("the token of the environment, HF_TOKEN, is used before it")
