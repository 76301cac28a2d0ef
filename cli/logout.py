"""`modpm logout`."""

from __future__ import annotations

import click

from modpm.cli.options import allow_http_option
from modpm.cli.output import say


@click.command("logout", epilog="Example: modpm logout")
@allow_http_option
def command() -> None:
    """Forget the tokens of the Hugging Face Hub, for its other programs too."""
    from modpm.registry.backends.hub.login import logout  # noqa: PLC0415 -- not for `--help`

    has_token_left = logout()
    say("logged out")
    if has_token_left:
        say("the environment still has a token: unset HF_TOKEN")
