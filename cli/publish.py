"""`modpm publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modpm.cli.module_table import module_data, print_copies
from modpm.cli.options import allow_http_option
from modpm.cli.output import emit, say
from modpm.cli.passphrase import ask_passphrase
from modpm.verbs.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.backends.protocol import Published
    from modpm.registry.publication.version_claims import VersionCheck
    from modpm.registry.signing.keys import SigningKey


@click.command(
    "publish",
    epilog="Example: modpm publish dist/cifar10 --registry /srv/modules --tag stable",
)
@click.argument(
    "paths", nargs=-1, required=True, metavar="DIST...", type=click.Path(path_type=Path)
)
@click.option(
    "--registry",
    metavar="URL",
    help="The folder or URL to publish to; by default $MODPM_REGISTRY, or else "
    "$MODPM_HOME/registry.",
)
@allow_http_option
@click.option("--tag", metavar="TAG", help="Let a tag stand for each of the releases.")
@click.option(
    "--sign",
    "key",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Sign them with this key (`modpm key new`).",
)
@click.option(
    "--examples",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Up to eight images to show with the modules, under the license of the release; or a "
    "folder of them for each module, called as it is (DIR/cat). They are published small and "
    "without what cameras note, with what the module says of each.",
)
@click.option(
    "--check-version",
    is_flag=True,
    help="Compare with the newest releases before, and refuse versions that claim too little.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="For --check-version: how far a metric may fall before the first number must move.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, and publish nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the releases as JSON.")
def command(
    *,
    paths: tuple[Path, ...],
    registry: str | None,
    tag: str | None,
    key: Path | None,
    examples: Path | None,
    check_version: bool,
    budget: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish distributions: all of them, or none.

    DIST is a distribution, or a folder of distributions as `modpm modularize` makes; files that
    lie beside them (dist/*) are passed over. What lacks
    something that others rely on (license, data, metrics of a split that decided nothing, card)
    is refused. A release never changes: publishing the same bytes again does nothing, and other
    bytes need another version.
    """
    checks = _checks(paths, registry, budget) if check_version else []
    published = publish(paths, registry, tag=tag, key=_key(key), examples=examples, dry_run=dry_run)
    if as_json:
        emit({**_data(published, checks, dry_run=dry_run), "tag": tag})
        return
    for check in checks:
        say(_check_in_words(check))
    _print(published, tag, dry_run=dry_run)


def _checks(paths: Sequence[Path], registry: str | None, budget: float) -> list[VersionCheck]:
    from modpm.verbs.releases import check_versions  # noqa: PLC0415 -- torch is for this option alone

    return check_versions(paths, registry, budget_points=budget)


def _key(path: Path | None) -> SigningKey | None:
    from modpm.registry.signing.keys import read_signing_key  # noqa: PLC0415 -- as above

    return None if path is None else read_signing_key(path, ask_passphrase)


def _print(published: Sequence[Published], tag: str | None, *, dry_run: bool) -> None:
    new = "would be published" if dry_run else "published"
    print_copies(published)
    n_new = sum(p.is_new for p in published)
    there = len(published) - n_new
    say(f"{n_new} {new}{f', {there} there already' if there else ''}")
    if tag is not None:
        releases = ", ".join(f"{p.name} {p.version}" for p in published)
        say(f"{'would tag' if dry_run else 'tagged'} as `{tag}`: {releases}")


def _check_in_words(check: VersionCheck) -> str:
    if check.previous is None:
        return f"{check.name} {check.version}: there is no release before it"
    how = "scores and manifests" if check.has_probed else "manifests"
    reasons = "; ".join(difference.what for difference in check.differences) or "nothing changes"
    return (
        f"{check.name} {check.version} after {check.previous}, by {how}: {reasons}; "
        f"{check.needed} must move, {check.claimed} does"
    )


def _data(
    published: Sequence[Published], checks: Sequence[VersionCheck], *, dry_run: bool
) -> dict[str, object]:
    return {
        "modules": [{**module_data(p), "is_new": p.is_new} for p in published],
        "dry_run": dry_run,
        "version_checks": [_check_data(check) for check in checks],
    }


def _check_data(check: VersionCheck) -> dict[str, object]:
    return {
        "name": str(check.name),
        "version": check.version,
        "previous": check.previous,
        "claimed": check.claimed.name.lower(),
        "needed": check.needed.name.lower(),
        "has_probed": check.has_probed,
        "differences": [
            {"part": difference.part.name.lower(), "what": difference.what}
            for difference in check.differences
        ],
    }
