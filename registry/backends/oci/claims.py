"""Choosing one of the writers who publish a version at once (clauses O-16 to O-19).

The registry cannot compare and swap: all it does is to write a tag, and to list tags. Each writer
claims the version, and looks whether the door is still open. If it is, the claim is early; the
writer says so and closes the door. Every claim that is early was there before anybody closed the
door, so whoever lists the claims after that sees all of them, and all choose the same one: the
least. No record is ever changed, so that nobody has to be undone.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.backends.oci.modelpack import annotation
from modpm.registry.backends.oci.repository import is_digest

if TYPE_CHECKING:
    from modpm.registry.backends.oci.repository import Repository

CLAIM_ANNOTATION = "modpm.claim"
TIMEOUT_SECONDS = 30.0
"""For how long a claim is waited for that is neither early nor late: its writer has crashed."""

_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2)
_jitter = random.Random()  # noqa: S311 - only spreads out writers that wait for each other


@dataclass(frozen=True)
class _State:
    """What the tags say of one version."""

    claims: frozenset[str]
    early: frozenset[str]
    late: frozenset[str]
    is_closed: bool

    @property
    def least(self) -> str | None:
        """The least claim that is early, and not held to be late by others."""
        return min(self.early - self.late, default=None)

    @property
    def awaited(self) -> frozenset[str]:
        """The claims that may still turn out to be the least."""
        least = self.least
        open_claims = self.claims - self.early - self.late
        return frozenset(c for c in open_claims if least is None or c < least)


class Claims:
    """The claims to one version, in the repository of the claims to all versions of the module."""

    def __init__(self, repository: Repository, key: str) -> None:
        self._repository = repository
        self._key = key
        self._claim = re.compile(rf"{re.escape(key)}\.(?P<id>[0-9a-f]{{16}})\.(?P<kind>\w+)")

    def choose(self, candidate: str) -> str:
        """Return the digest of the OCI manifest that all writers agree on, ours or another.

        Raises:
            ModpmError: `busy`, if nobody can be chosen; what the repository raises.
        """
        own = secrets.token_hex(8)
        if not self._state().is_closed:
            self._enter(own, candidate)
        least = self._least()
        return candidate if least == own else self._candidate_of(least)

    def _enter(self, own: str, candidate: str) -> None:
        self._put(f"{own}.claim", candidate)
        if self._state().is_closed:
            self._put(f"{own}.late")
        else:
            self._put(f"{own}.early")
            self._put("closed")

    def _least(self) -> str:
        """Return the claim that is chosen; the door is closed, so that every early one is seen."""
        waited_since: dict[str, float] = {}
        pauses = chain(_PAUSES_SECONDS, repeat(_PAUSES_SECONDS[-1]))
        while (state := self._state()).awaited:
            for claim in state.awaited:
                since = waited_since.setdefault(claim, time.monotonic())
                if time.monotonic() - since > TIMEOUT_SECONDS:
                    self._put(f"{claim}.late")
            time.sleep(next(pauses) * _jitter.uniform(0.5, 1.0))
        if state.least is None:
            raise self._stuck()
        return state.least

    def _state(self) -> _State:
        tags = self._repository.tags() or []
        matches = [match for tag in tags if (match := self._claim.fullmatch(tag))]

        def of(kind: str) -> frozenset[str]:
            return frozenset(match["id"] for match in matches if match["kind"] == kind)

        return _State(of("claim"), of("early"), of("late"), f"{self._key}.closed" in tags)

    def _put(self, what: str, candidate: str = "") -> None:
        annotations = {CLAIM_ANNOTATION: candidate or what}
        self._repository.put_record(f"{self._key}.{what}", annotations)

    def _candidate_of(self, claim: str) -> str:
        tag = f"{self._key}.{claim}.claim"
        where = f"{self._repository.location}:{tag}"
        data = self._repository.manifest(tag)
        candidate = None if data is None else annotation(data, CLAIM_ANNOTATION, where)
        if candidate is None or not is_digest(candidate):
            raise self._stuck()
        return candidate

    def _stuck(self) -> ModpmError:
        return ModpmError(
            "the version cannot be published: writers before have left it undecided",
            code="busy",
            where=f"{self._repository.location}, claims to {self._key}",
            hint="publish under a higher version, or delete these claims if nobody publishes now",
        )
