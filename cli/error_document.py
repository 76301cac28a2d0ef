"""What `--json` prints of an error, for those who read it (clauses E-3 and E-4)."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

Code = Annotated[str, Meta(pattern=r"^[a-z]+(-[a-z]+)*$")]
Sentence = Annotated[str, Meta(min_length=1)]


class Step(TypedDict):
    """One step of the derivation of an error of resolving (N-18); it may have more keys."""

    step: Annotated[int, Meta(ge=1)]
    kind: Literal["demand", "requirement", "obstacle", "conclusion"]
    text: Sentence
    because: list[Annotated[int, Meta(ge=1)]]


class ErrorFields(TypedDict):
    """The fields of an error; those that there is nothing to say of are null."""

    code: Code
    what: Sentence
    where: str | None
    why: str | None
    hint: str | None
    derivation: NotRequired[list[Step]]


class ErrorDocument(TypedDict):
    """The whole document."""

    error: ErrorFields
