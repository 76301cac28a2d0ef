"""Where modpm keeps what belongs to a user and not to a project."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """Return the folder of the store and of the default registry.

    `MODPM_HOME` names it; otherwise it is the platform's folder for a user's data.
    """
    named = os.environ.get("MODPM_HOME")
    return (
        Path(named).absolute() if named else platformdirs.user_data_path("modpm", appauthor=False)
    )
