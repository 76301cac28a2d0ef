"""A folder of folders that appears whole or not at all."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from modpm.core.formats.whole_files import write_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole_tree(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the folder's name when all went well.

    If anything is raised, by a full disk or by the user, nothing is left behind.

    Args:
        folder: It must not exist, or be empty.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.new")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(folder)
    except OSError as error:
        raise write_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
