"""What the contract suite needs to know of a kind of registry.

A kind is one file beside this one, with one class named after it: `hub.py` has `Hub`, and
`object_store.py` has `ObjectStore`. The suite finds the files by itself.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from modpm.registry.backends.opening import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend


@dataclass(frozen=True)
class Access:
    """How a process gets at a registry: its location, and what its environment says."""

    url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Backend:
        """Open the registry in this process; the environment is read now and not later."""
        with in_environment(self.environment):
            return open_backend(self.url)


@contextmanager
def in_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change the environment of this process for a while."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Kind(ABC):
    """A kind of registry, with the server that it needs: one for all tests.

    Args:
        folder: For what the server keeps; it is empty.
    """

    name: ClassVar[str]
    is_writable: ClassVar[bool] = True
    is_http: ClassVar[bool] = False
    """Whether there is a server: a faulty proxy is put in front of it, too."""
    asks_for_credentials: ClassVar[bool] = False
    keeps_indexes: ClassVar[bool] = True
    """Whether there is a document for each name, and not only what it is made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def unavailable(cls) -> str | None:
        """Say why the server cannot be started on this machine; None if it can."""
        return None

    def start(self) -> None:  # noqa: B027 - not every kind has a server
        """Start the server, and wait until it answers."""

    def stop(self) -> None:  # noqa: B027 - not every kind has a server
        """Stop the server."""

    @abstractmethod
    def renew(self) -> None:
        """Make a new place for a registry, where nothing is: `access` names it from now on."""

    @abstractmethod
    def access(self, port: int | None = None) -> Access:
        """Return how a client gets at the registry.

        Args:
            port: Of a proxy on 127.0.0.1 to go through; None for the server itself.
        """

    @property
    def port(self) -> int:
        """Where the server listens on 127.0.0.1; for kinds that are `is_http`."""
        raise NotImplementedError  # nobody asks a kind that has no server of its own

    def strangers_access(self) -> tuple[Access, str]:
        """Return how somebody with wrong credentials tries, and the secret that is wrong.

        For kinds that `asks_for_credentials`.
        """
        raise NotImplementedError  # nobody asks a kind that takes no credentials

    @property
    def url(self) -> str:
        """The location of the registry."""
        return self.access().url

    @property
    def environment(self) -> Mapping[str, str]:
        """What the environment of a process that opens `url` must hold."""
        return self.access().environment

    def fresh(self) -> Backend:
        """Return a registry that holds nothing yet."""
        self.renew()
        return self.again()

    def again(self) -> Backend:
        """Return another client of the same registry."""
        return self.access().open()

    def writer(self) -> Backend:
        """Return what publishes to the registry; for kinds that are only read, another kind."""
        return self.again()
