"""Numbers and records as people say them on a page."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.manifest import Manifest
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modpm.core.formats.composition_manifest import AnyManifest
    from modpm.core.formats.manifest import InputContract, RetainedKernels

_KILO = 1000
_SHOWN_DIGITS, _SHOWN_CLASSES = 12, 12


def size(size_bytes: float) -> str:
    """Return a size in bytes (`1.2 MB`)."""
    return _scaled(size_bytes, ("bytes", "kB", "MB", "GB"))


def count(n: float) -> str:
    """Return a large number (`1.2 M`)."""
    return _scaled(n, ("", "k", "M", "G", "T")).strip()


def _scaled(number: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if number < _KILO:
            return f"{number:.0f} {unit}" if unit == units[0] else f"{number:.1f} {unit}"
        number /= _KILO
    return f"{number:.1f} {units[-1]}"


def share(value: float | None) -> str:
    """Return a share, as three places; what was not measured is a dash."""
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return str(Percent(value))


class Says(NamedTuple):
    """What a score says.

    Attributes:
        is_class: Whether the class is likelier than all else.
        probability: How likely it is, in percent.
        score: The score, with its sign.
    """

    is_class: bool
    probability: str
    score: str


def says(score: float) -> Says:
    """Return what a score says, where half of all images show the class."""
    return Says(score > 0, percent(probability(score)), f"{score:+.2f}")


def probability(score: float) -> float:
    """Return log-odds as a probability."""
    return 1 / (1 + math.exp(-score)) if score > -700 else 0.0  # noqa: PLR2004 -- what exp can take


def digits(digest: str) -> str:
    """Return the beginning of a digest, by which people know it."""
    return digest.removeprefix("sha256:")[:_SHOWN_DIGITS]


def listed(names: Iterable[str], n_shown: int = _SHOWN_CLASSES) -> str:
    """Return names in a sentence, and how many more there are."""
    known = list(names)
    shown = ", ".join(known[:n_shown])
    return f"{shown} and {len(known) - n_shown} more" if len(known) > n_shown else shown


def sentence(manifest: AnyManifest) -> str:
    """Return what a module recognizes, or a composition tells apart, in a sentence."""
    if not isinstance(manifest, Manifest):
        labels = manifest.composition.labels
        rejects = "" if manifest.composition.reject is None else ", or says none of the above"
        return f"Tells {listed(labels)} apart{rejects}."
    own, classes = manifest.output.class_index, manifest.origin.classes
    others = [name for i, name in enumerate(classes) if i != own]
    beside = f" It was cut from a network of {listed(classes)}." if others else ""
    return (
        f"Says how likely an image shows {classes[own]}, and nothing else: one number, above 0 "
        f"where that is more likely than not if half of all images do.{beside}"
    )


def input_kind(contract: InputContract) -> str:
    """Return what kind of image a network reads."""
    color = "gray" if contract.channels == 1 else "color"
    return f"{color}, {contract.height} \N{MULTIPLICATION SIGN} {contract.width}"


class Layer(NamedTuple):
    """The kernels that were retained of a layer.

    Attributes:
        name: The layer.
        n: How many were retained.
        total: How many it has in the origin.
        path: What draws them, in a box as wide as `total` and 1 high.
    """

    name: str
    n: int
    total: int
    path: str


def layers(retained: dict[str, RetainedKernels]) -> list[Layer]:
    """Return the retained kernels of each layer, as they are drawn."""
    by_number = sorted(retained.items(), key=lambda item: _numbers(item[0]))
    return [
        Layer(name, len(kept.retained), kept.total, _drawn(kept.retained))
        for name, kept in by_number
    ]


def _numbers(name: str) -> list[tuple[int, str]]:
    """Return what sorts `conv10` after `conv9`."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part), part) if i % 2 else (-1, part) for i, part in enumerate(parts)]


def _drawn(kernels: Sequence[int]) -> str:
    """Return a path of one rectangle for each run of kernels."""
    runs: list[list[int]] = []
    for kernel in kernels:
        if runs and runs[-1][1] == kernel:
            runs[-1][1] = kernel + 1
        else:
            runs.append([kernel, kernel + 1])
    return "".join(f"M{first} 0h{end - first}v1h{first - end}z" for first, end in runs)
