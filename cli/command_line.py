"""The command line: finds the verb, runs it, and turns its failure into words."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import TYPE_CHECKING

import click

from modpm import __version__
from modpm.cli.groups import Group
from modpm.cli.output import report_error, say, set_quiet
from modpm.core.errors import ModpmError
from modpm.core.system.waiting import listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

# In the order of the work. A verb is imported only when it is called, so that no other pays for it.
VERB_GROUPS = {
    "Make class modules": {
        "check": "Say what can be cut of a network, before it is trained.",
        "train": "Train a modular network on a data set.",
        "modularize": "Cut a modular network into one class module per class.",
        "quantize": "Make variants of class modules in 8 bits.",
    },
    "Share them": {
        "pack": "Make a distribution of a composed classifier.",
        "publish": "Publish distributions to a registry.",
        "tag": "Let a tag stand for a release.",
        "yank": "Keep a release from being installed anew.",
        "mirror": "Copy what a lockfile needs into another registry.",
        "registry": "Look after a registry: make its catalogue anew.",
        "key": "Make keys that sign releases.",
        "login": "Log in to the Hugging Face Hub.",
        "logout": "Forget the tokens of the Hugging Face Hub.",
        "whoami": "Show who is logged in to the Hugging Face Hub.",
    },
    "Use them in a project": {
        "init": "Make a folder a project.",
        "install": "Install class modules into this project.",
        "remove": "Take class modules out of this project.",
        "update": "Move class modules to newer releases.",
        "lock": "Choose releases and pin them, without installing any.",
        "sync": "Install exactly what is pinned.",
        "verify": "Check installed class modules, or repair them.",
        "trust": "Say whose signatures are trusted.",
    },
    "Look around": {
        "list": "List the installed class modules and compositions.",
        "tree": "Show which module requires which, and why one is there.",
        "outdated": "Show modules that have newer releases.",
        "search": "Search registries for class modules and compositions.",
        "info": "Show what a module or composition recognizes, and how well.",
        "browse": "Look for, compare and try class modules on web pages.",
        "cache": "Look after the store of downloaded files.",
        "doctor": "Say what works here: packages, device, registries, folders.",
    },
    "Compose and classify": {
        "compose": "Compose a classifier from class modules, without training.",
        "replace": "Let another class module score one label of a classifier.",
        "patch": "Let a class module score one class of an ordinary network.",
        "finetune": "Train a composed classifier further, on images of its labels.",
        "evaluate": "Measure a classifier, a run or a class module on a data set.",
        "predict": "Classify images.",
        "benchmark": "Time a classifier on this machine, against its origin.",
        "export": "Write a classifier as one ordinary file.",
    },
}
VERBS = {verb: words for group in VERB_GROUPS.values() for verb, words in group.items()}
ALIASES = {"add": "install", "uninstall": "remove", "upgrade": "update", "show": "info"}
"""What users of other package managers type; no help lists it."""


class VerbGroup(Group):
    """A command group whose verbs are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb, and tell whoever waits for that."""
        verb = ALIASES.get(cmd_name, cmd_name)
        if verb not in VERBS:
            return None
        command = import_module(f"modpm.cli.{verb}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"modpm.cli.{verb}.command is not a click command")
        if ctx.obj is not None:
            ctx.obj()
        _let_be_quiet(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a verb without importing any, or an option."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 -- only shells need it

        verbs = [
            CompletionItem(verb, help=words)
            for verb, words in VERBS.items()
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """List the verbs, by what they are for, without importing them."""
        width = max(map(len, VERBS))
        for title, verbs in VERB_GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), words) for verb, words in verbs.items()])


def _become_quiet(_context: click.Context, _parameter: click.Parameter, is_given: bool) -> None:
    if is_given:
        set_quiet(True)


_QUIET = click.Option(
    ["-q", "--quiet"],
    is_flag=True,
    expose_value=False,
    callback=_become_quiet,
    help="Print results and errors only.",
)
"""The option that may stand before the verb and after it."""


def _let_be_quiet(command: click.Command) -> None:
    """Give a verb, and the verbs that it has in turn, the option `--quiet`."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _let_be_quiet(inner)
    if _QUIET not in command.params:
        command.params.append(_QUIET)


@click.command(
    cls=VerbGroup, params=[_QUIET], context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", message="modpm %(version)s")
def modpm() -> None:
    """Make classes of trained CNNs dependencies: train, cut, publish, install, compose."""


def run(argv: list[str], when_imported: Callable[[], None] | None = None) -> int:
    """Run one command and return its exit code, as `modpm.cli.main.main`."""
    set_quiet(False)
    listen(say)
    try:
        code = modpm.main(args=argv, prog_name="modpm", standalone_mode=False, obj=when_imported)
    except (ModpmError, click.ClickException, OSError, KeyboardInterrupt, click.Abort) as error:
        known = _as_modpm_error(error)
        if known is None:
            raise
        report_error(known, as_json="--json" in argv)
        return known.exit_code
    return code if isinstance(code, int) else 0


def _as_modpm_error(error: BaseException) -> ModpmError | None:
    if isinstance(error, ModpmError):
        return error
    if isinstance(error, click.UsageError):
        return _usage_error(error)
    if isinstance(error, click.ClickException):
        return ModpmError(error.format_message(), code="failed", exit_code=error.exit_code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ModpmError("interrupted", code="interrupted", exit_code=130)
    if isinstance(error, OSError):
        return _system_error(error)
    return None


def _usage_error(error: click.UsageError) -> ModpmError:
    path = error.ctx.command_path if error.ctx is not None else "modpm"
    message = error.format_message().rstrip(".")
    return ModpmError(
        message[:1].lower() + message[1:],
        code="usage",
        where=path,
        hint=f"see `{path} --help`",
        exit_code=2,
    )


_SYSTEM_ERRORS = {
    errno.ENOSPC: ("the disk is full", "disk-full", "free some space and run the command again"),
    errno.EACCES: ("permission denied", "permission-denied", "check who owns it"),
    errno.EROFS: ("the file system is read-only", "permission-denied", "choose another folder"),
    errno.ENAMETOOLONG: ("the path is too long", "unreadable-file", "name another one"),
    errno.ELOOP: ("the path leads round in circles", "unreadable-file", "mend its links"),
    errno.ENOTDIR: ("the path leads through a file", "unreadable-file", "name another one"),
    errno.EISDIR: ("the path leads to a folder", "unreadable-file", "name a file"),
}


def _system_error(error: OSError) -> ModpmError | None:
    if error.errno not in _SYSTEM_ERRORS:
        return None
    what, code, hint = _SYSTEM_ERRORS[error.errno]
    return ModpmError(what, code=code, where=str(error.filename or "unknown"), hint=hint)
