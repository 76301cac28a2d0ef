"""The one error a user sees: what is wrong, where, why, and how to mend it."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable


class ModpmError(Exception):
    """Something a user can cause and mend.

    Carries fields; `modpm.cli` alone makes words or JSON of them.

    Args:
        what: What is wrong, one sentence without a full stop.
        code: A stable kebab-case name, for scripts (`specs/errors.md` lists them).
        where: The file, image, node or address it was found at.
        why: What was found, or what led to it.
        hint: What to do about it.
        exit_code: 1 where the request cannot be met, 2 where it was asked wrongly.
    """

    def __init__(
        self,
        what: str,
        *,
        code: str,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
        exit_code: int = 1,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.where = where
        self.why = why
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        parts = [self.what]
        if self.where is not None:
            parts.append(f"at: {self.where}")
        if self.why is not None:
            parts.append(f"because: {self.why}")
        if self.hint is not None:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


def suggestion(
    name: str, known: Iterable[str], otherwise: str | None = None, *, n: int = 1, form: str = "{}"
) -> str | None:
    """Return the hint that names what was probably meant by a name that is not known.

    Args:
        name: The name.
        known: The names that are known.
        otherwise: The hint where none of them is like it.
        n: How many to name at most.
        form: How a name is written, in the place of `{}`.
    """
    from difflib import get_close_matches  # noqa: PLC0415 -- only for errors

    close = get_close_matches(name, sorted(known), n)
    meant = " or ".join(f"`{form.format(each)}`" for each in close)
    return f"did you mean {meant}?" if close else otherwise
