"""`modpm search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.module_table import Row, digits, print_by_registry, size_in_words
from modpm.cli.options import SizeType, json_option, project_option, searched_registry_option
from modpm.cli.output import counted, emit, say, warn_of
from modpm.core.formats.records import to_plain
from modpm.core.shown_text import Percent
from modpm.registry.discovery.searching import search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.discovery.searching import Found

_SHOWN_LABELS = 3


@click.command(
    "search", epilog="Example: modpm search animal --class cat --min-recall 0.9 --max-size 2MB"
)
@click.argument("text", nargs=-1, metavar="[TEXT]...")
@click.option("--class", "label", metavar="C", help="The class it recognizes: cat, cifar10/cat.")
@click.option("--namespace", metavar="N", help="The namespace it is in.")
@click.option(
    "--min-recall",
    metavar="R",
    type=click.FloatRange(0, 1),
    help="Measured recall at least; what was not measured is left out.",
)
@click.option(
    "--max-size",
    "max_size_bytes",
    metavar="SIZE",
    type=SizeType(),
    help="Size at most, such as 2MB.",
)
@searched_registry_option
@project_option
@json_option
def command(
    *,
    text: tuple[str, ...],
    label: str | None,
    namespace: str | None,
    min_recall: float | None,
    max_size_bytes: int | None,
    registry: tuple[str, ...],
    project: str,
    as_json: bool,
) -> None:
    """Search registries for class modules and compositions.

    TEXT are words that the name, class or summary holds. Recall and precision, or for a
    composition accuracy, are the lowest of those that were measured.
    """
    found = search(
        " ".join(text),
        project,
        registry,
        label=label,
        namespace=namespace,
        min_recall=min_recall,
        max_size_bytes=max_size_bytes,
        on_problem=warn_of,
    )
    if as_json:
        emit({"modules": [_data(one) for one in found]})
        return
    print_by_registry([(one.registry, _row(one)) for one in found])
    say(f"{counted(len(found), 'module')} found")


def _row(one: Found) -> Row:
    # Most modules are called as the class is that they recognize.
    is_plain = [str(one.name)] == list(one.labels)
    shares = {"recall": one.recall, "precision": one.precision, "accuracy": one.accuracy}
    return {
        "name": one.name,
        "version": one.version,
        "size": size_in_words(one.size_bytes),
        **{name: None if share is None else Percent(share) for name, share in shares.items()},
        "license": one.license,
        "signer": digits(one.signer),
        "recognizes": None if is_plain else _classes_in_words(one.labels),
    }


def _classes_in_words(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_SHOWN_LABELS])
    n_more = len(labels) - _SHOWN_LABELS
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def _data(one: Found) -> dict[str, object]:
    return {
        "name": str(one.name),
        "version": one.version,
        "digest": one.digest,
        "kind": "composition" if one.is_composition else "module",
        "label": None if one.is_composition else one.labels[0],
        "labels": list(one.labels),
        "summary": one.summary,
        "license": one.license,
        "size_bytes": one.size_bytes,
        "metrics": [to_plain(metrics) for metrics in one.metrics],
        "measured": [to_plain(measured) for measured in one.measured],
        "registry": one.registry,
        "signer": one.signer,
    }
