"""What mkdocs calls while it builds: pages made from the code, and from documents beside `docs/`.

Documents at the root, such as the README and `specs/`, are pages too. Links are written as they
are true in the repository, and become links between pages here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from commands import commands_page
from decisions import decisions_page
from errors import errors_page
from functions import functions_page
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
MADE = {
    "reference/commands.md": commands_page,
    "reference/errors.md": errors_page,
    "reference/python.md": functions_page,
    "adr/README.md": decisions_page,
}
BESIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    **{
        path.relative_to(ROOT).as_posix(): f"reference/formats/{path.name}"
        for path in sorted((ROOT / "specs").glob("*.md"))
    },
}
"""Documents that do not stand in `docs/`, to the pages that they are."""

_ORIGINS = {page: document for document, page in BESIDE.items()}
_LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and those of documents beside `docs/`."""
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    for document, name in BESIDE.items():
        files.append(File.generated(config, name, content=(ROOT / document).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 -- what mkdocs calls
    """Turn links between documents into links between pages."""
    here = page.file.src_uri
    document = _ORIGINS.get(here, f"docs/{here}")
    # A split by one group leaves what it matched at the odd places.
    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _link(link, document, here), part) for part in parts[::2]]
    return "".join(parts)


def _link(link: re.Match[str], document: str, here: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), link["path"]))
    if (ROOT / path).is_dir():
        path += "/README.md"
    page = BESIDE.get(path, path.removeprefix("docs/"))
    return f"]({posixpath.relpath(page, posixpath.dirname(here))}{link['anchor'] or ''})"
