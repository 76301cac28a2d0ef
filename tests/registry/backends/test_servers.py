"""A server that is missing is never passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.conftest import KINDS, REQUIRED, refuse_to_go_without
from tests.registry.backends.kinds.kind import Access, Kind

if TYPE_CHECKING:
    from pathlib import Path


class _Absent(Kind):
    name = "absent"

    @classmethod
    def unavailable(cls) -> str | None:
        return "its server is not installed"

    def renew(self) -> None:
        raise NotImplementedError  # nobody asks a kind whose server is absent

    def access(self, port: int | None = None) -> Access:
        raise NotImplementedError  # nobody asks a kind whose server is absent


def test_every_kind_of_registry_is_tested() -> None:
    assert {kind.name for kind in KINDS} == {"directory", "object-store", "hub", "oci", "static"}


def test_without_a_server_its_tests_are_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="its server is not installed"):
        refuse_to_go_without(_Absent)


def test_where_servers_are_required_a_missing_one_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="its server is not installed"):
        refuse_to_go_without(_Absent)


def test_the_check_of_changes_requires_servers(repository: Path) -> None:
    assert f"{REQUIRED}=1 make test" in (repository / ".ci" / "run").read_text("utf-8")
