from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from modpm.cli.output import set_quiet
from modpm.cli.progress_bar import download_bar

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TERM", "xterm")
    set_quiet(False)
    yield
    set_quiet(False)


@pytest.mark.parametrize("n_bytes", [1_000_000, 2_000_000])
def test_a_terminal_shows_how_much_has_arrived(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with download_bar() as progress:
        assert progress is not None
        progress(0, 2_000_000)
        progress(n_bytes, 2_000_000)

    assert f"{n_bytes // 1_000_000}.0/2.0 MB" in screen.getvalue()


def test_where_nothing_must_arrive_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with download_bar() as progress:
        assert progress is not None

    assert screen.getvalue() == ""


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    set_quiet(True)
    with download_bar() as progress:
        assert progress is None


def test_what_is_no_terminal_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with download_bar() as progress:
        assert progress is None
