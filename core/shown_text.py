"""Texts of strangers as they may be shown, in a terminal or on a page."""

from __future__ import annotations

import re

# Control characters, C0 and C1; what turns the direction of text; what has no width, but for the
# joiners that scripts and emoji need; other ends of lines; tags; halves of surrogate pairs, which
# stand for bytes of a path that are not UTF-8.
_STEERING = (
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)


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
