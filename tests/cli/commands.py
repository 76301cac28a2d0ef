"""Every command of the command line, and what texts say of them."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click

from modpm.cli.command_line import VERBS
from modpm.cli.command_line import modpm as command_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OPTION = r"(?<![\w-])--[a-z][a-z0-9-]*"
_BLOCK = r"(?s)```\w*\n(.*?)```"


def _commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *above, name)
        else:
            yield (*above, name), command


COMMANDS = dict(_commands(command_line))
"""Every command, by the words that call it."""


def options_of(*words: str) -> set[str]:
    """Return the options of a command, or of all commands that these words begin."""
    commands = [command for name, command in COMMANDS.items() if name[: len(words)] == words]
    own = {name for command in commands for p in command.params for name in _names(p)}
    return own | {name for p in command_line.params for name in _names(p)} | {"--help"}


def _names(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


def told_commands(text: str) -> Iterator[str]:
    """Give the commands that a text tells of, without the word `modpm`."""
    for block in re.findall(_BLOCK, text):
        yield from re.findall(r"^ *modpm ([^#\n]+)", re.sub(r"\\\n\s*", "", block), re.MULTILINE)
    yield from re.findall(r"`modpm ([^`]+)`", re.sub(_BLOCK, "", text))
    if text.startswith("Example: "):
        yield from re.findall(r"\bmodpm ([^;|)]+)", text)


def options_told_alone(text: str) -> set[str]:
    """Return the options that a text names without their command, in backticks or outside."""
    prose = re.sub(_BLOCK, "", text)
    return set(re.findall(_OPTION, re.sub(r"`([^`]*)`", _alone, prose)))


def _alone(code: re.Match[str]) -> str:
    return code[0] if code[1].startswith("--") else "`"


def problem_of(told: str) -> str | None:
    """Say why a command cannot be typed so; a verb alone, with no more, is only named."""
    words = shlex.split(told)
    for n in (1, 2):
        if tuple(words[:n]) in COMMANDS:
            return _problem(COMMANDS[tuple(words[:n])], words[n:])
    is_group = len(words) == 1 and words[0] in VERBS
    return None if is_group or words[0].startswith("-") else "there is no such command"


def _problem(command: click.Command, words: Sequence[str]) -> str | None:
    context = click.Context(command, help_option_names=["-h", "--help"])
    try:
        given, left, _order = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            value = given.get(str(parameter.name))
            if isinstance(parameter.type, click.Choice) and isinstance(value, str):
                parameter.type_cast_value(context, value)
    except click.UsageError as error:
        return error.format_message()
    missing = [p.name for p in command.params if p.required and not given.get(str(p.name))]
    if left or (words and missing and not given.get("help")):
        return f"too much: {left}" if left else f"missing: {missing}"
    return None
