"""`modpm trust`."""

from __future__ import annotations

from operator import itemgetter

import click

from modpm.cli.groups import Group
from modpm.cli.output import emit, say, table
from modpm.core.formats.names import normalize
from modpm.verbs import trust


@click.group(
    "trust", cls=Group, epilog="Example: modpm trust add cifar10 owner.pub; modpm trust list"
)
def command() -> None:
    """Say whose signatures are trusted, in all your projects.

    Without this, the key that signed the first release of a namespace that you installed is
    trusted with it, in all your projects, and every other is refused.
    """


@command.command("add", epilog="Example: modpm trust add cifar10 owner.pub")
@click.argument("namespace")
@click.argument("key", required=False, metavar="[KEY.pub]")
@click.option("--unsigned", is_flag=True, help="Accept unsigned releases of the namespace.")
def add(namespace: str, key: str | None, unsigned: bool) -> None:
    """Trust a key with the releases of a namespace, and no key that was not added.

    KEY.pub is the file of a public key, or the id of a key (sha256:...).
    """
    trusted = trust.add(namespace, key, unsigned=unsigned)
    if unsigned:
        say(f"unsigned releases of {normalize(namespace)} are accepted")
    if trusted is not None:
        say(f"{trusted.namespace} may be signed with {trusted.key_id}")


@command.command("remove", epilog="Example: modpm trust remove cifar10 owner.pub")
@click.argument("namespace")
@click.argument("key", required=False, metavar="[KEY.pub]")
@click.option("--unsigned", is_flag=True, help="Refuse unsigned releases of the namespace again.")
def remove(namespace: str, key: str | None, unsigned: bool) -> None:
    """Trust a key with the releases of a namespace no longer.

    KEY.pub is the file of a public key, or the id of a key (sha256:...). With the namespace
    alone, all that is known of it goes: keys, that of its first use, and that unsigned releases
    of it are accepted.
    """
    gone = trust.remove(namespace, key, unsigned=unsigned)
    if unsigned:
        say(f"unsigned releases of {normalize(namespace)} are accepted no longer")
    for trusted in gone:
        say(f"{trusted.namespace} may no longer be signed with {trusted.key_id}")
    if key is None and not unsigned:
        say(f"the next key that {normalize(namespace)} is met with will be trusted")


@command.command("list", epilog="Example: modpm trust list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def list_trusted(as_json: bool) -> None:
    """List the keys that are trusted, and with what."""
    file = trust.list()
    if as_json:
        keys = [{"namespace": key.namespace, "key_id": key.key_id} for key in file.keys]
        emit({"keys": keys, "unsigned": file.unsigned, "first_used": file.first_used})
        return
    rows: list[tuple[str, str, str | None]] = [
        (key.namespace, "added", key.key_id) for key in file.keys
    ]
    rows += [(namespace, "unsigned, too", None) for namespace in file.unsigned]
    rows += [(namespace, "at first use", key) for namespace, key in file.first_used.items()]
    if rows:
        table(sorted(rows, key=itemgetter(0, 1)), ("namespace", "trusted", "key"))
    else:
        say("no keys are trusted; the first that is seen will be")
