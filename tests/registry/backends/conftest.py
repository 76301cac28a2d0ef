"""Every kind of registry, started once, for the tests that each kind must pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.kinds.directory import Directory
from tests.registry.backends.kinds.kind import Kind
from tests.registry.backends.kinds.object_store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRED = "MODPM_REQUIRE_SERVERS"
"""With this variable set to 1, a server that cannot be started is a failure and no skip."""


def _class_of(file: Path) -> type[Kind]:
    module = import_module(f"tests.registry.backends.kinds.{file.stem}")
    kind = getattr(module, file.stem.title().replace("_", ""))
    assert isinstance(kind, type)
    assert issubclass(kind, Kind)
    return kind


_FILES = sorted((Path(__file__).parent / "kinds").glob("*.py"))
KINDS = [_class_of(file) for file in _FILES if file.stem != "kind"]


WANTED: dict[str, Callable[[type[Kind]], bool]] = {
    "kind": lambda _: True,
    "writable": lambda kind: kind.is_writable,
    "read_only": lambda kind: not kind.is_writable,
    "served": lambda kind: kind.is_http,
    "served_and_writable": lambda kind: kind.is_http and kind.is_writable,
    "guarded": lambda kind: kind.asks_for_credentials,
}
"""The fixtures that give a kind, each with the kinds that it gives."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, is_wanted in WANTED.items():
        if fixture in metafunc.fixturenames:
            kinds = [kind for kind in KINDS if is_wanted(kind)]
            ids = [kind.name for kind in kinds]
            metafunc.parametrize(fixture, kinds, ids=ids, indirect=True)


StartServer = Callable[[type[Kind]], Kind]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Give the kind with its server running; every server is stopped at the end."""
    running: dict[type[Kind], Kind] = {}
    with ExitStack() as stack:

        def start(cls: type[Kind]) -> Kind:
            if cls not in running:
                refuse_to_go_without(cls)
                kind = cls(tmp_path_factory.mktemp(cls.name))
                stack.callback(kind.stop)
                kind.start()
                running[cls] = kind
            return running[cls]

        yield start


def refuse_to_go_without(cls: type[Kind]) -> None:
    """Skip what needs a server that this machine does not have, or fail."""
    reason = cls.unavailable()
    if reason is None:
        return
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{cls.name}: {reason}, and {REQUIRED} is 1")
    pytest.skip(f"{cls.name}: {reason}")


def _renewed(request: pytest.FixtureRequest, start_server: StartServer) -> Kind:
    kind = start_server(request.param)
    kind.renew()
    return kind


kind = pytest.fixture(_renewed, name="kind")
writable = pytest.fixture(_renewed, name="writable")
read_only = pytest.fixture(_renewed, name="read_only")
served = pytest.fixture(_renewed, name="served")
served_and_writable = pytest.fixture(_renewed, name="served_and_writable")
guarded = pytest.fixture(_renewed, name="guarded")


@pytest.fixture(params=[Directory, ObjectStore], ids=lambda kind: kind.name)
def kind_of_registry(
    request: pytest.FixtureRequest, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> Kind:
    """One that the environment makes known to a command: without a server, or with one."""
    kind = start_server(request.param)
    kind.renew()
    for name, value in kind.environment.items():
        monkeypatch.setenv(name, value)
    return kind
