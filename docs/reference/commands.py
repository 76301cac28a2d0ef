"""The page of all commands, in the words of their own help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.command_line import VERB_GROUPS, modpm

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 96
INTRODUCTION = """# Commands

What each command says with `--help`. Exit codes: 0 done, 1 the request cannot be met, 2 it was
asked wrongly, 130 interrupted ([errors](errors.md)). Results go to standard output, everything
else to standard error.
"""


def commands_page() -> str:
    """Return the page, by what commands are for."""
    above = click.Context(modpm, info_name="modpm")
    return "\n".join([INTRODUCTION, *_groups(above)])


def _groups(above: click.Context) -> Iterator[str]:
    for title, verbs in VERB_GROUPS.items():
        yield f"## {title}\n"
        for verb in verbs:
            command = modpm.get_command(above, verb)
            if command is None:
                raise LookupError(verb)
            yield from _helps(command, verb, above)


def _helps(command: click.Command, name: str, above: click.Context) -> Iterator[str]:
    context = click.Context(
        command,
        info_name=name,
        parent=above,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield f"### {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _helps(found, inner, context)
