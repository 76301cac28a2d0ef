"""The settings of a user: registries, and the namespaces that belong to them, for all projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from modpm.registry.addresses import Address
from modpm.registry.projects.project import Registered, parse_registered, read
from modpm.registry.system.home import named_path

if TYPE_CHECKING:
    from pathlib import Path

_HINT = "correct the file: it is yours, and holds for every project"


def user_settings() -> Registered:
    """Read what `MODPM_CONFIG` names, or else `config.toml` of the user's configuration (W-16).

    Returns:
        The settings, in which no path is relative; without the file there are none.

    Raises:
        ModpmError: `invalid-project`, naming the file.
    """
    path = named_path("MODPM_CONFIG") or _path_of_platform()
    settings = parse_registered(Registered, read(path) or b"", path, _HINT)
    there = tuple(Address(a.name, a.location(path.parent)) for a in settings.registries)
    return msgspec.structs.replace(settings, registries=there)


def _path_of_platform() -> Path:
    from platformdirs import user_config_path  # noqa: PLC0415 -- only for this

    return user_config_path("modpm", appauthor=False) / "config.toml"
