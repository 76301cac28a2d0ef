"""The Markdown of strangers as HTML that does nothing but say something."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from modpm.core.shown_text import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?^---\s*?$", re.DOTALL | re.MULTILINE)
_TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "hr", "li", "ol", "p", "pre", "strong", "ul"),
    *("h3", "h4", "h5", "h6", "table", "tbody", "td", "th", "thead", "tr"),
}
_MAX_CELLS = 20_000
"""A table that asks for more is shown as it is written: its cells would be made of few bytes."""
_HEADING = re.compile(r"<(/?)h([1-4])>")


def render(text: str) -> Markup:
    """Return Markdown as HTML: text, links and tables; no pictures, scripts, styles or frames.

    In the place of a picture is what it is called.

    Headings begin at the third level, since the page has those above.

    Args:
        text: A card; its front matter is left out.
    """
    body = _FRONT_MATTER.sub("", text, count=1)
    shown = "\n".join(map(as_text, body.replace("\t", "    ").splitlines()))
    parser = _parser(shown.count("|") <= _MAX_CELLS)
    raised = _HEADING.sub(lambda tag: f"<{tag[1]}h{int(tag[2]) + 2}>", parser.render(shown))
    cleaned = nh3.clean(
        raised,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    # Characters that steer a terminal or the direction of text may have been entities until now.
    cleaned = "\n".join(map(as_text, cleaned.split("\n")))
    # A wide table or a long line scrolls in a box of its own, which the keyboard reaches.
    boxed = re.sub(
        r"<(table|pre)>",
        r'<div class="scrolls" tabindex="0" role="group" aria-label="\1"><\1>',
        cleaned,
    )
    return Markup(re.sub(r"</(table|pre)>", r"</\1></div>", boxed))  # noqa: S704 -- cleaned above


_ATTRIBUTES: Mapping[str, set[str]] = {"a": {"href", "title"}}


def _alternative(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, object],
) -> str:
    """Say what is in the place of a picture."""
    return escape(renderer.renderInlineAsText(tokens[index].children, options, env))


@cache
def _parser(has_tables: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False})
    parser.add_render_rule("image", _alternative)
    return parser.enable("table") if has_tables else parser
