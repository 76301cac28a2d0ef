"""Addresses of the Hub that cards lead to."""

from __future__ import annotations

from typing import NamedTuple

_SHOWN_DIGITS = 12


class OnHub(NamedTuple):
    """Where the modules of one owner are on the Hub.

    Attributes:
        endpoint: The address of the Hub.
        owner: The user or organization.
        has_origins: Whether the origins of the modules have pages of their own.
    """

    endpoint: str
    owner: str
    has_origins: bool = False

    def repository(self, name: str) -> str:
        """Return the id of a module's repository (clause H-1)."""
        return f"{self.owner}/{name.replace('/', '.')}"

    def page(self, name: str) -> str:
        """Return the address of a module's page."""
        return f"{self.endpoint}/{self.repository(name)}"

    def origin_repository(self, namespace: str, digest: str) -> str:
        """Return the id of the repository of an origin's page (clause H-19)."""
        digits = digest.partition(":")[2][:_SHOWN_DIGITS]
        return f"{self.owner}/{namespace}-origin-{digits}"
