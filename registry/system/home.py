"""Where modpm keeps what belongs to a user and not to a project."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder of the store and of the default registry.

    `MODPM_HOME` names it; otherwise it is the platform's folder for a user's data.
    """
    named = named_path("MODPM_HOME")
    if named is not None:
        return named
    from platformdirs import user_data_path  # noqa: PLC0415 -- only for this

    return user_data_path("modpm", appauthor=False)


def named_path(variable: str) -> Path | None:
    """Return the path that a variable names, `~` in it being the user's folder; None if none is."""
    named = os.environ.get(variable)
    return Path(os.path.expanduser(named)).absolute() if named else None  # noqa: PTH111 -- pathlib refuses names of unknown users


def trust_path() -> Path:
    """Return the file that says whom the user trusts (K-11)."""
    return home() / "trust.json"
