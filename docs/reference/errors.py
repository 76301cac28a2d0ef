"""The page of errors: what each code means, and the hints that the code gives with it."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("core", "registry", "verbs", "browsing", "cli")
INTRODUCTION = """# Errors

An error says what is wrong, where, why, and how to mend it; with `--json` as fields, among them
the code below, for scripts. Clauses in brackets are those of the [formats](../../specs/README.md).
Below each meaning stand the hints that come with it, where the error does not make its own;
`…` is what is filled in.
"""
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `([a-z-]+)` \| (.+) \|$", re.MULTILINE)


def errors_page() -> str:
    """Return the page, by the parts of `specs/errors.md`."""
    hints = _hints()
    exits = json.loads((ROOT / "specs/vectors/errors.json").read_text("utf-8"))["exit_codes"]
    _, *sections = _SECTION.split((ROOT / "specs" / "errors.md").read_text("utf-8"))
    lines = [INTRODUCTION]
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        lines.append(f"## {title}\n")
        for code, meaning in _ROW.findall(text):
            ends = " or ".join(map(str, exits[code]))
            lines.append(f"### {code}\n\n{meaning[0].upper()}{meaning[1:]}. Exit code {ends}.\n")
            lines += [f"- {hint}" for hint in sorted(hints[code])]
            lines.append("")
    return "\n".join(lines)


def _hints() -> dict[str, set[str]]:
    """Return the hints in the source by the code of their error."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for code, hint in _told(ast.parse(path.read_text("utf-8"))):
                found[code].add(hint)
    return found


def _told(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords}
            if "code" in given and "hint" in given:
                codes, hints = _texts(given["code"]), _texts(given["hint"])
                yield from ((code, hint) for code in codes for hint in hints)


def _texts(node: ast.expr) -> list[str]:
    """Return what an expression can say, as far as it is written down."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(_part(part) for part in node.values)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "…"
