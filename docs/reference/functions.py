"""The page of the Python functions, in the words of their docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import modpm

if TYPE_CHECKING:
    from collections.abc import Iterator

INTRODUCTION = """# Python

Every verb of the command line is a function of `modpm` with the same name and options.
`import modpm` costs nothing; what a function needs is imported when it is first used. What a user
can cause is raised as `ModpmError`, whose fields are `what`, `code`, `where`, `why` and `hint`
([errors](errors.md)).
"""
WIDTH = 88
SECTIONS = ("Args", "Attributes", "Shapes", "Returns", "Yields", "Raises", "Source", "Departs")
_ITEM = re.compile(r"^(\*{0,2}\w+(?: \([^)]*\))?): +", re.MULTILINE)


def functions_page() -> str:
    """Return the page, by name."""
    names = [name for name in modpm.__all__ if not name.startswith("__")]
    parts = [part for name in names for part in _describe(f"modpm.{name}", getattr(modpm, name), 2)]
    return "\n".join([INTRODUCTION, *parts])


def _describe(name: str, thing: object, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    if isinstance(thing, ModuleType):
        yield _markdown(inspect.getdoc(thing) or "")
        yield from _members(name, thing, level, FunctionType)
    elif isinstance(thing, type):
        yield _markdown(inspect.getdoc(thing) or "")
        yield from _members(name, thing, level, (FunctionType, property, classmethod))
    else:
        yield f"```python\n{_signature(name, thing)}\n```\n"
        yield _markdown(inspect.getdoc(thing) or "")


def _members(name: str, thing: object, level: int, kinds: type | tuple[type, ...]) -> Iterator[str]:
    """Describe what is defined in a module or class itself, and is public and documented."""
    home = getattr(thing, "__module__", None) or getattr(thing, "__name__", None)
    for member, value in vars(thing).items():
        inner = getattr(value, "__func__", value)
        is_own = isinstance(value, property) or getattr(inner, "__module__", home) == home
        if isinstance(value, kinds) and is_own and not member.startswith("_") and inner.__doc__:
            yield from _describe_member(f"{name}.{member}", value, level + 1)


def _describe_member(name: str, value: object, level: int) -> Iterator[str]:
    if isinstance(value, property):
        yield f"{'#' * level} {name}\n\n{_markdown(inspect.getdoc(value) or '')}"
    else:
        yield from _describe(name, getattr(value, "__func__", value), level)


def _signature(name: str, thing: object) -> str:
    """Return a call with its parameters, each on its line where they do not fit on one."""
    parameters = inspect.signature(thing).parameters.values()  # type: ignore[arg-type]  # all that is listed can be called
    words = [_parameter(one) for one in parameters if one.name not in ("self", "cls")]
    keyword = next((n for n, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), None)
    has_var = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if keyword is not None and not has_var:
        words.insert(keyword - (len(parameters) - len(words)), "*")
    line = f"{name}({', '.join(words)})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), ")"])


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    kind = "" if one.annotation is one.empty else f": {one.annotation}"
    written = "…" if callable(one.default) else repr(one.default)
    default = "" if one.default is one.empty else f" = {written}"
    return f"{stars}{one.name}{kind}{default}"


def _markdown(docstring: str) -> str:
    """Return a docstring of Google's form as Markdown."""
    heads = re.split(rf"^({'|'.join(SECTIONS)}):[ \n]", docstring, flags=re.MULTILINE)
    lines = [heads[0].strip(), ""]
    for title, text in zip(heads[1::2], heads[2::2], strict=True):
        lines += [f"**{title}**", "", _section(title, textwrap.dedent(text).strip()), ""]
    return "\n".join(lines)


def _section(title: str, text: str) -> str:
    if title not in ("Args", "Attributes"):
        return text
    items = _ITEM.sub(r"\n- `\1`: ", text)
    return re.sub(r"\n {4,}", "\n  ", items).strip()
