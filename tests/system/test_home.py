"""Where what belongs to a user is kept, as the platform says."""

from __future__ import annotations

import platformdirs
import pytest

from modpm.core.system.home import home, user_folder


@pytest.mark.parametrize("xdg", [None, "", "relative", "/xdg", "/xdg/", " /xdg"])
@pytest.mark.parametrize("folder", [None, "", "relative", "/home/somebody", "/home/somebody/"])
def test_the_users_folders_are_those_of_the_platform(
    xdg: str | None, folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (("XDG_DATA_HOME", xdg), ("XDG_CONFIG_HOME", xdg), ("HOME", folder)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert user_folder("data") == platformdirs.user_data_path("modpm", appauthor=False)
    assert user_folder("config") == platformdirs.user_config_path("modpm", appauthor=False)


def test_the_store_is_there_too_unless_a_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MODPM_HOME", raising=False)
    assert home() == user_folder("data")
