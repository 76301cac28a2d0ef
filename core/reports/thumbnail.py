"""The picture that stands for a release: it can be read at the size of a thumbnail.

It says what a card says at its top, in letters that are large beside it: the name, and two or
three numbers. Names are normalized, so that every one can be drawn. The release is in none of the
numbers of others: the same manifest gives the same picture, by the same version of Pillow.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord, Manifest
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import PICTURE_FILE

if TYPE_CHECKING:
    from modpm.core.formats.composition_manifest import AnyManifest

Illustrated = TypeVar("Illustrated", Manifest, CompositionManifest)

WIDTH, HEIGHT = 600, 315
_MARGIN, _STRIPE = 36, 26
_LARGE, _SMALL, _NUMBER = 120, 30, 46
_PAPER, _INK, _SOFT, _ACCENT, _TRACK = "#fbfbfa", "#1b1d22", "#5b616e", "#3451b2", "#e3e6ef"


class _Fact(NamedTuple):
    number: str
    what: str


def thumbnail(manifest: AnyManifest) -> bytes:
    """Return the picture of a release as PNG.

    Args:
        manifest: A valid manifest; its `files` and `pictures` are not looked at.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    name = ModuleName.parse(manifest.name)
    is_module = isinstance(manifest, Manifest)
    above = f"{name.namespace} /" if is_module else f"{name.namespace} / composition"
    _text(draw, (_MARGIN, 24), above, _SMALL, _SOFT)
    _text(draw, (_MARGIN, 54), name.name, _LARGE, _INK)
    facts = _of_module(manifest) if isinstance(manifest, Manifest) else _of_composition(manifest)
    width = (WIDTH - 2 * _MARGIN) // len(facts)
    for i, fact in enumerate(facts):
        x = _MARGIN + i * width
        _text(draw, (x, 196), fact.number, _NUMBER, _ACCENT, width=width - 20)
        _text(draw, (x, 246), fact.what, _SMALL - 6, _SOFT, width=width - 20)
    if isinstance(manifest, Manifest):
        _stripe(draw, manifest)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def with_picture(manifest: Illustrated) -> tuple[Illustrated, dict[str, bytes]]:
    """Return a manifest that names the picture of its release, and the file.

    Args:
        manifest: The manifest, which names no pictures yet.
    """
    data = thumbnail(manifest)
    record = FileRecord(size_bytes=len(data), digest=digest_bytes(data))
    return msgspec.structs.replace(manifest, pictures={PICTURE_FILE: record}), {PICTURE_FILE: data}


def _of_module(manifest: Manifest) -> list[_Fact]:
    measured = [_Fact(_short(one.recall), "recall") for one in manifest.metrics[:1]] + [
        _Fact(_short(one.precision), "precision") for one in manifest.metrics[:1]
    ]
    share = manifest.macs / max(1, manifest.origin.macs)
    return [*measured, _Fact(_short(share), "of the arithmetic")]


def _of_composition(manifest: CompositionManifest) -> list[_Fact]:
    record = manifest.composition
    measured = [_Fact(_short(one.accuracy), "accuracy") for one in record.measured[:1]]
    n = len(record.labels)
    return [_Fact(f"{n:,}", "class" if n == 1 else "classes"), *measured]


def _short(share: float) -> str:
    """Return a share in percent in few letters."""
    return f"{100 * share:.3g} %"


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    color: str,
    *,
    width: int = WIDTH - 2 * _MARGIN,
) -> None:
    """Write a line, in smaller letters where it would not fit; its middle stays where it is."""
    font = ImageFont.load_default(size)
    if (length := font.getlength(text)) > width:
        font = ImageFont.load_default(max(8, size * width / length))
    draw.text((at[0], at[1] + size * 0.6), text, color, font, anchor="lm")


def _stripe(draw: ImageDraw.ImageDraw, manifest: Manifest) -> None:
    """Draw all kernels of the origin side by side, those that the module retains filled."""
    kernels = [
        kept.total and np.isin(np.arange(kept.total), kept.retained)
        for kept in (
            manifest.retained[node.name]
            for node in manifest.origin.graph.nodes  # whose order is that of no dictionary
            if node.name in manifest.retained
        )
    ]
    is_kept = np.concatenate([np.zeros(0, bool), *kernels])
    top = HEIGHT - _STRIPE
    draw.rectangle((0, top, WIDTH, HEIGHT), _TRACK)
    if not len(is_kept):
        return
    of_column = is_kept[np.arange(WIDTH) * len(is_kept) // WIDTH]
    for x in np.flatnonzero(of_column).tolist():
        draw.line((x, top, x, HEIGHT), _ACCENT)
