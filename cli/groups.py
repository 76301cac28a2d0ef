"""Commands that have commands, as users of other package managers know them."""

from __future__ import annotations

import click

from modpm.core.errors import ModpmError, suggestion


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
            known_names = self.list_commands(ctx)
            raise ModpmError(
                f"no such command: `{' '.join([*path.split()[1:], name])}`",
                code="no-such-command",
                hint=suggestion(name, known_names, f"see `{path} --help`", form=f"{path} {{}}"),
                exit_code=2,
            )
        return super().resolve_command(ctx, args)
