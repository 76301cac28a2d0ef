"""Addresses of the Hub that cards lead to."""

from __future__ import annotations

from typing import NamedTuple


class OnHub(NamedTuple):
    """Where the modules of one owner are on the Hub.

    Attributes:
        endpoint: The address of the Hub.
        owner: The user or organization.
    """

    endpoint: str
    owner: str

    def repository(self, name: str) -> str:
        """Return the id of a module's repository (clause H-1)."""
        return f"{self.owner}/{name.replace('/', '.')}"

    def page(self, name: str) -> str:
        """Return the address of a module's page."""
        return f"{self.endpoint}/{self.repository(name)}"
