"""What resolving must keep to."""

from __future__ import annotations

import os
from typing import NamedTuple

from modpm.core.errors import ModpmError

_TIMEOUT_VARIABLE = "MODPM_RESOLVE_TIMEOUT"
_DEFAULT_SECONDS = 20.0


class Bounds(NamedTuple):
    """What resolving must keep to.

    Attributes:
        limit_seconds: How long it may take.
    """

    limit_seconds: float = _DEFAULT_SECONDS

    @classmethod
    def of(cls, resolve_timeout: float | None = None) -> Bounds:
        """Return the bounds that a user sets.

        Args:
            resolve_timeout: Seconds; None for those of `MODPM_RESOLVE_TIMEOUT`, or else 20.

        Raises:
            ModpmError: `bad-setting`.
        """
        if resolve_timeout is None:
            return cls(_seconds(os.environ.get(_TIMEOUT_VARIABLE) or _DEFAULT_SECONDS))
        return cls(_seconds(resolve_timeout))


def _seconds(given: float | str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        raise _no_time(given) from None
    if seconds > 0:
        return seconds
    raise _no_time(given)


def _no_time(given: float | str) -> ModpmError:
    return ModpmError(
        f"resolving cannot be given {str(given)[:40]!r} seconds",
        code="bad-setting",
        hint=f"give a number above 0 by `--resolve-timeout`, or in `{_TIMEOUT_VARIABLE}`",
        exit_code=2,
    )
