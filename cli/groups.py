"""Commands that have commands, as users of other package managers know them."""

from __future__ import annotations

import click

from modpm.core.errors import ModpmError


class Group(click.Group):
    """A group that prints its help when it is called alone, and knows what may have been meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; none ask for the help."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name, path = args[0], ctx.command_path
        known = self.get_command(ctx, name) is not None
        if not (known or name.startswith("-") or ctx.resilient_parsing):
            from difflib import get_close_matches  # noqa: PLC0415 -- only for this

            close = get_close_matches(name, self.list_commands(ctx), n=1)
            raise ModpmError(
                f"no such command: `{' '.join([*path.split()[1:], name])}`",
                code="no-such-command",
                hint=f"did you mean `{path} {close[0]}`?" if close else f"see `{path} --help`",
                exit_code=2,
            )
        return super().resolve_command(ctx, args)
