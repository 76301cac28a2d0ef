"""Texts of strangers as they may be shown, in a terminal or on a page; and shares and points."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Control characters, C0 and C1; what turns the direction of text; what has no width, but for the
# joiners that scripts and emoji need; other ends of lines; tags; halves of surrogate pairs, which
# stand for bytes of a path that are not UTF-8.
_STEERING = (
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)


class Percent(float):
    """A share of a whole, which is shown in percent: `61.67 %`."""

    def __str__(self) -> str:
        """Show two places."""
        return f"{_two_places(100 * self)} %"


class Points(float):
    """A difference of two shares in percent: `0.33`."""

    def __str__(self) -> str:
        """Show two places."""
        return _two_places(self)


def _two_places(value: float) -> str:
    shown = f"{value:.2f}"
    return "0.00" if shown == "-0.00" else shown


def short_labels(labels: Sequence[str]) -> dict[str, str]:
    """Return how each label is shown beside the others: `cat` for `cifar10/cat`.

    Two of one last part are shown whole. Labels that are not all of a namespace are names of
    classes, and shown as they are.
    """
    last = [label.partition("/")[2] for label in labels]
    if not all(last):
        return {label: label for label in labels}
    return {
        label: name if last.count(name) == 1 else label
        for label, name in zip(labels, last, strict=True)
    }


def as_text(text: str) -> str:
    """Return a text as it may be shown: it says something, and steers no terminal.

    Everything that a verb shows goes through here: who wrote it, nobody knows. What is not a
    character to be read is escaped as in JSON, the end of a line too.
    """
    return text if text.isascii() and text.isprintable() else re.sub(_STEERING, _escaped, text)


def _escaped(steering: re.Match[str]) -> str:
    character = steering[0]
    import json  # noqa: PLC0415 -- few texts need it

    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def rejection_in_words(reject: float, false_rejections: float | None) -> str:
    """Say where a classifier calls an image none of the above."""
    words = f"where no label's own probability reaches {reject:.4g}"
    if false_rejections is None:
        return words
    return f"{words}, set for at most {Percent(false_rejections)} of images of its labels"
