"""The blocks of code of a document, which run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

RUN = {"sh", "python"}
"""Languages of blocks that run."""

QUIET = {"text", "toml", "yaml"}
"""Languages of blocks that are nothing to run."""

_BLOCK = re.compile(
    r"(?:^<!-- needs: (?P<needs>[^\n]+) -->\n)?^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_TYPE_IN = Path(__file__).with_name("typing_in.py")


class Block(NamedTuple):
    """A block of code, and what it needs that no test has; None where it can run."""

    language: str
    code: str
    needs: str | None


def blocks(document: Path) -> list[Block]:
    """Return the blocks of code of a document, in their order."""
    found = _BLOCK.finditer(document.read_text("utf-8"))
    return [Block(one["language"], one["code"], one["needs"]) for one in found]


def run_document(document: Path, folder: Path) -> str:
    """Run each block that can run in a folder, as a reader does; return what they printed."""
    runs = [
        (one.language, one.code)
        for one in blocks(document)
        if one.language in RUN and one.needs is None
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:modpm", str(_TYPE_IN)],
        cwd=folder,
        env=os.environ | {"MODPM_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"},
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{document.name}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
