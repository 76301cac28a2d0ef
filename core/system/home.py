"""Where modpm keeps what belongs to a user and not to a project."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal


def home() -> Path:
    """Return the folder of the store, of decoded images and of the default registry.

    `MODPM_HOME` names it; otherwise it is the platform's folder for a user's data.
    """
    return named_path("MODPM_HOME") or user_folder("data")


def user_folder(kind: Literal["data", "config"]) -> Path:
    """Return the platform's folder for what a program keeps for a user: data, or settings."""
    if sys.platform == "linux":
        # As platformdirs has it, which takes a tenth of the time of a small command to import.
        named = Path(os.environ.get(f"XDG_{kind.upper()}_HOME", ""))
        of_home = ".config" if kind == "config" else ".local/share"
        for folder in (named, Path(os.environ.get("HOME", ""), of_home)):
            if folder.is_absolute():
                return folder / "modpm"
    from platformdirs import user_config_path, user_data_path  # noqa: PLC0415 -- slow to import

    return (user_config_path if kind == "config" else user_data_path)("modpm", appauthor=False)


def named_path(variable: str) -> Path | None:
    """Return the path that a variable names, `~` in it being the user's folder; None if none is."""
    named = os.environ.get(variable)
    return Path(os.path.expanduser(named)).absolute() if named else None  # noqa: PTH111 -- pathlib refuses names of unknown users


def trust_path() -> Path:
    """Return the file that says whom the user trusts (K-11)."""
    return home() / "trust.json"
