"""Passphrases of keys: from the environment, else from the terminal, never from the arguments."""

from __future__ import annotations

import os
import sys

import click

VARIABLE = "MODPM_KEY_PASSPHRASE"


def ask_passphrase() -> str | None:
    """Return the passphrase of a key that is there; None where nobody can be asked."""
    given = os.environ.get(VARIABLE)
    if given is not None or not sys.stdin.isatty():
        return given
    answer: str = click.prompt("passphrase of the key", hide_input=True, err=True)
    return answer


def choose_passphrase(*, prompt: bool) -> str | None:
    """Return the passphrase for a new key; None for a key without one.

    Args:
        prompt: Ask for it, twice, where the environment does not have it.
    """
    given = os.environ.get(VARIABLE)
    if given is not None or not prompt:
        return given
    answer: str = click.prompt(
        "passphrase for the key", hide_input=True, confirmation_prompt=True, err=True
    )
    return answer
