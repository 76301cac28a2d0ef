"""Options that several verbs share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_Command = TypeVar("_Command", bound="Callable[..., Any]")

project_option = click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Leave out images that cannot be decoded."
)
offline_option = click.option("--offline", is_flag=True, help="Open no registry, only the store.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would change, and change nothing."
)


def _allow_http(ctx: click.Context, _param: click.Parameter, is_allowed: bool) -> None:
    if is_allowed:
        from modpm.registry.permissions import PLAIN_HTTP  # noqa: PLC0415 -- rarely needed

        ctx.with_resource(PLAIN_HTTP.given())


def numbers(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> list[float] | None:
    """Read one number for each channel, joined by commas."""
    try:
        return None if value is None else [float(part) for part in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not numbers such as 0.5,0.5,0.5") from error


def size(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> list[int] | None:
    """Read height and width, or one number for both."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if not (all(part.isdecimal() for part in parts) and len(parts) in {1, 2}):
        raise click.BadParameter(f"{value!r} is no size such as 224 or 160x224")
    return [int(parts[0]), int(parts[-1])]


def names(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Read names, joined by commas."""
    return None if value is None else [name.strip() for name in value.split(",")]


def weights_options(command: _Command) -> _Command:
    """Give a verb the options that say what a run would know of a network of ordinary weights."""
    options: list[Callable[[_Command], _Command]] = [
        click.option("--arch", help="For weights: what they are of, as `train` takes it."),
        click.option(
            "--width",
            default=1.0,
            show_default=True,
            help="For weights: factor on the channels of every layer.",
        ),
        click.option(
            "--classes",
            metavar="NAMES",
            callback=names,
            show_default="those of the data in their order",
            help="For weights: the classes in the order of the outputs, joined by commas.",
        ),
        click.option(
            "--mean",
            metavar="NUMBERS",
            callback=numbers,
            help="For weights: what images were normalized by, a mean for each channel, joined by "
            "commas.",
        ),
        click.option(
            "--std",
            metavar="NUMBERS",
            callback=numbers,
            help="For weights: a standard deviation for each channel.",
        ),
        click.option(
            "--image-size",
            callback=size,
            metavar="PIXELS|HEIGHTxWIDTH",
            show_default="that of most images",
            help="For weights: height and width of images.",
        ),
        click.option(
            "--val-fraction",
            default=0.1,
            show_default=True,
            help="For weights: share of the training images that scores are fitted on.",
        ),
        click.option(
            "--seed", default=0, show_default=True, help="For weights: what these are drawn with."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _keep_memory(_ctx: click.Context, _parameter: click.Parameter, device: str) -> str:
    """Keep memory between the passes of networks: the process is the command's own."""
    from modpm.core.system.memory import keep_freed_memory  # noqa: PLC0415 -- where networks run

    keep_freed_memory()
    return device


device_option = click.option(
    "--device",
    callback=_keep_memory,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default="the accelerator, where there is one",
    help="Where networks run.",
)
allow_http_option = click.option(
    "--allow-http",
    is_flag=True,
    expose_value=False,
    callback=_allow_http,
    help="Speak plain http to other machines than this; $MODPM_ALLOW_HTTP names single ones.",
)


def _accept_rollback(ctx: click.Context, _param: click.Parameter, is_accepted: bool) -> None:
    if is_accepted:
        from modpm.registry.permissions import ROLLBACKS  # noqa: PLC0415 -- rarely needed

        ctx.with_resource(ROLLBACKS.given())


accept_rollback_option = click.option(
    "--accept-rollback",
    is_flag=True,
    expose_value=False,
    callback=_accept_rollback,
    help="Believe registries that list less, or other releases, than this machine has seen there.",
)


def _with_http(option: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Let whoever names a registry allow plain http to it."""
    return lambda command: option(allow_http_option(command))


def _with_leave(option: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Let whoever names a registry of releases accept what it says, too."""
    return lambda command: _with_http(option)(accept_rollback_option(command))


added_registry_option = _with_leave(
    click.option(
        "--registry",
        metavar="URL",
        multiple=True,
        help="A registry to look in first for what is named; it is added to modpm.toml. May be "
        "given several times. By default those of modpm.toml, or else $MODPM_REGISTRY; then those "
        "of your config.toml; where there is none, $MODPM_HOME/registry.",
    )
)
move_namespace_option = click.option(
    "--move-namespace",
    metavar="NAMESPACE",
    multiple=True,
    help="Let a namespace belong to the registry that --registry names; modpm.toml says so from "
    "then on. May be given several times.",
)
_asked_registry_option = click.option(
    "--registry",
    metavar="URL",
    multiple=True,
    help="Ask this registry, and none of the project. May be given several times.",
)
asked_registry_option = _with_leave(_asked_registry_option)
searched_registry_option = _with_http(_asked_registry_option)
helping_registry_option = _with_leave(
    click.option(
        "--registry",
        metavar="URL",
        multiple=True,
        help="A registry that may help out with files. May be given several times.",
    )
)
same_origin_option = click.option(
    "--same-origin/--no-same-origin",
    default=None,
    help="Choose modules of one origin, so that they can be fused; kept in modpm.toml.",
)
exclude_newer_option = click.option(
    "--exclude-newer",
    metavar="DATE",
    help="Choose nothing that was published after this date (2026-01-31, to its end in UTC) or "
    "time (2026-01-31T12:00:00Z), as registries say; pins stay.",
)
resolve_timeout_option = click.option(
    "--resolve-timeout",
    metavar="SECONDS",
    type=float,
    help="How long choosing releases may take, waiting for registries not counted; by default "
    "$MODPM_RESOLVE_TIMEOUT, or else 20.",
)


accuracy_option = click.option(
    "--accuracy",
    metavar="DATA",
    help="Measure what the update would make of each label of the classifiers that modpm.lock "
    "has a record of, on the images of the record: as for `modpm evaluate`.",
)


class Choosing(TypedDict):
    """What `choosing_options` give, but for how it is shown."""

    registry: tuple[str, ...]
    move_namespace: tuple[str, ...]
    same_origin: bool | None
    offline: bool
    dry_run: bool
    exclude_newer: str | None
    resolve_timeout: float | None
    project: str


def choosing_options(command: _Command) -> _Command:
    """Give a verb that chooses releases the options that all of these have."""
    options: list[Callable[[_Command], _Command]] = [
        added_registry_option,
        move_namespace_option,
        same_origin_option,
        offline_option,
        dry_run_option,
        exclude_newer_option,
        resolve_timeout_option,
        project_option,
        json_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


target_registry_option = click.option(
    "--registry",
    metavar="URL",
    help="The folder or URL; by default $MODPM_REGISTRY, or else $MODPM_HOME/registry.",
)

_SIZE = r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[A-Za-z]*)"
_UNITS = {
    **dict.fromkeys(("", "b", "bytes"), 1),
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmg", start=1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmg", start=1)},
}


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A size as people write it: `2MB`, `500 kB`, `1.5MiB`, `1000`."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the size in bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(_SIZE, str(value).strip())
        if match is None or match["unit"].lower() not in _UNITS:
            self.fail(f"{value!r} is not a size; write `2MB`, `500kB` or `1.5MiB`", param, ctx)
        return int(float(match["number"]) * _UNITS[match["unit"].lower()])
