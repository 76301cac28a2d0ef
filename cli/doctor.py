"""`modpm doctor`."""

from __future__ import annotations

import click

from modpm.cli.options import searched_registry_option
from modpm.cli.output import counted, emit, say, table


@click.command("doctor", epilog="Example: modpm doctor")
@searched_registry_option
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(*, registry: tuple[str, ...], project: str, as_json: bool) -> int:
    """Say what is installed, which device there is, which registries answer, what can be written.

    The exit code is 1 where something would fail.
    """
    from modpm.verbs.doctor import doctor  # noqa: PLC0415 -- so that --help starts quickly

    found = doctor(project, registry)
    problems = [one for one in found if one.is_problem]
    if as_json:
        emit([one._asdict() for one in found])
        return int(bool(problems))
    rows = [[one.about, one.name, f"{'PROBLEM: ' if one.is_problem else ''}{one.what}"]
            for one in found]  # fmt: skip
    table(rows, ("about", "which", "found"))
    for one in found:
        if one.hint is not None:
            say(f"{one.name}: {one.hint}")
    say(f"{counted(len(problems), 'problem')} found" if problems else "all of it works")
    return int(bool(problems))
