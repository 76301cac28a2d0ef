"""What a command does only where its user permits it, in all of its threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Permission:
    """One such thing."""

    is_given = False

    @contextmanager
    def given(self) -> Iterator[None]:
        """Permit it as long as the block lasts."""
        before, self.is_given = self.is_given, True
        try:
            yield
        finally:
            self.is_given = before


PLAIN_HTTP, ROLLBACKS = Permission(), Permission()
"""To ask any server without encryption; to believe what registries say, whatever they said."""
