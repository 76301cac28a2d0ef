"""The page that lists the decisions."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "adr"
INTRODUCTION = """# Decisions

Hard choices, one a page: what was to be decided, what was possible, what was chosen, what follows.
"""


def decisions_page() -> str:
    """Return a list of all decisions by number."""
    lines = [f"- [{_title(path)}]({path.name})" for path in sorted(FOLDER.glob("0*.md"))]
    return "\n".join([INTRODUCTION, *lines, ""])


def _title(path: Path) -> str:
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
