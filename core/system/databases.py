"""SQLite files of the user: opened for each work, and made anew, once, where they are damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_SECONDS = 2.0
"""How long others are waited for."""

_PRIMARY_CODE = 0xFF
_NO_DAMAGE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
}
"""What keeps a file from being used now, and says nothing against what it holds."""

Result = TypeVar("Result")


def with_database(
    path: Path,
    work: Callable[[sqlite3.Connection], Result],
    on_problem: Callable[[Exception, bool], None] = lambda _error, _is_anew: None,
    patience_seconds: float | None = None,
) -> Result | None:
    """Return what some work on a database returns; None where it cannot be used.

    Nothing of it stays open in a program that goes on. Where it is made anew, which is told with
    what is wrong, the work is done again.
    """
    for is_last in (False, True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            patience = PATIENCE_SECONDS if patience_seconds is None else patience_seconds
            opened = sqlite3.connect(path, timeout=patience, isolation_level=None)
            with closing(opened) as database:
                return work(database)
        except (sqlite3.Error, OSError) as error:
            is_anew = not is_last and _is_removed(path, error)
            on_problem(error, is_anew)
            if not is_anew:
                return None
    return None


def _is_removed(path: Path, error: Exception) -> bool:
    """Remove a damaged database; say whether it is one, and away."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if not isinstance(error, sqlite3.Error) or code in _NO_DAMAGE:
        return False
    try:
        for suffix in ("", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError:
        return False
    return True
