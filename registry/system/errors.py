"""What the operating system refuses, said as an error that a user can mend."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.whole_files import write_error

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an `OSError` into a `ModpmError`, which says what could not be done (`install`).

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`.
    """
    try:
        yield
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        cause = write_error(error, Path(path or "."))
        raise ModpmError(
            f"cannot {doing}", code=cause.code, where=path, why=cause.why, hint=cause.hint
        ) from error
