"""The settings of a user: registries, and the namespaces that belong to them, for all projects."""

import os
from pathlib import Path

import msgspec
import platformdirs

from modpm.core.formats.whole_files import read_at_most
from modpm.registry.addresses import Address, RegistryName
from modpm.registry.projects.lockfile import Namespace
from modpm.registry.projects.project import check_registries
from modpm.registry.projects.toml_file import MAX_SIZE_BYTES, convert_toml, parse_toml

_HINT = "correct the file: it is yours, and holds for every project"


class UserSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `config.toml` says (W-16).

    Attributes:
        registries: Where to look after those of a project, the first first; no path is relative.
        namespaces: The registry that a namespace belongs to where a project does not say, by name.
    """

    registries: tuple[Address, ...] = ()
    namespaces: dict[Namespace, RegistryName] = {}


def settings_path() -> Path:
    """Return the file: `MODPM_CONFIG`, or else `config.toml` in the user's configuration folder."""
    named = os.environ.get("MODPM_CONFIG")
    if named:
        return Path(os.path.expanduser(named)).absolute()  # noqa: PTH111 -- pathlib refuses names of unknown users
    return platformdirs.user_config_path("modpm", appauthor=False) / "config.toml"


def user_settings() -> UserSettings:
    """Read the settings; without the file there are none.

    Raises:
        ModpmError: `invalid-project`, naming the file.
    """
    path, code = settings_path(), "invalid-project"
    try:
        data = read_at_most(path, MAX_SIZE_BYTES)
    except FileNotFoundError:
        return UserSettings()
    document = parse_toml(data, path=path, code=code, hint=_HINT)
    settings = convert_toml(UserSettings, document, path=path, code=code, hint=_HINT)
    check_registries(settings.registries, settings.namespaces, path, _HINT)
    there = tuple(Address(a.name, a.location(path.parent)) for a in settings.registries)
    return msgspec.structs.replace(settings, registries=there)
