"""What SQLite says of a file that cannot be used: whether it has to be made anew."""

from __future__ import annotations

import sqlite3

_PRIMARY_CODE = 0xFF
_NO_DAMAGE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
}
"""What keeps a file from being used now, and says nothing against what it holds."""


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether an error tells that what a file holds cannot be used."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE not in _NO_DAMAGE
