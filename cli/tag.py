"""`modpm tag`."""

from __future__ import annotations

import click

from modpm.cli.options import allow_http_option, target_registry_option
from modpm.cli.output import emit, say
from modpm.registry.publication.changing import tag, untag


@click.command("tag", epilog="Example: modpm tag cifar10/cat==1.2.0 stable")
@click.argument("release", metavar="NAME==VERSION")
@click.argument("name", metavar="TAG")
@click.option("--delete", is_flag=True, help="Delete the tag; NAME alone will do then.")
@target_registry_option
@allow_http_option
@click.option("--json", "as_json", is_flag=True, help="Print the tags of the module as JSON.")
def command(release: str, name: str, delete: bool, registry: str | None, as_json: bool) -> None:
    """Let a tag stand for a release, so that NAME@TAG asks for it.

    A tag moves when it is set again; lockfiles keep the release that they have.
    """
    index = untag(release, name, registry) if delete else tag(release, name, registry)
    if as_json:
        emit({"name": index.name, "tags": index.tags})
    elif delete:
        say(f"{index.name} has no tag {name}")
    else:
        say(f"{index.name}@{name} is {index.tags[name]}")
