"""How modules are printed, by every verb that lists some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.registry.backends.protocol import Published
    from modpm.registry.installing.installed import InstalledModule
    from modpm.registry.projects.lockfile import Pin

COLUMNS = ("name", "version", "digest", "size", "registry")

_SHOWN_DIGITS = 12
_KILO = 1000


def module_data(module: InstalledModule | Published) -> dict[str, str | int]:
    """Return what scripts read of a module."""
    return {
        "name": str(module.name),
        "version": module.version,
        "digest": module.digest,
        "size_bytes": module.size_bytes,
        "registry": module.registry,
    }


def installed_data(module: InstalledModule) -> dict[str, str | int]:
    """Return what scripts read of an installed module or composition."""
    return {**module_data(module), "kind": kind_in_words(module)}


def kind_in_words(module: InstalledModule) -> str:
    """Return what is installed."""
    return "composition" if module.is_composition else "module"


def pin_data(pin: Pin, project: Path) -> dict[str, str | int]:
    """Return what scripts read of a locked release, as of an installed one."""
    return {
        "name": str(pin.module),
        "version": pin.version,
        "digest": pin.digest,
        "size_bytes": pin.size_bytes,
        "registry": pin.registry.location(project),
    }


def module_row(module: InstalledModule | Published) -> list[str]:
    """Return what people read of a module, in the order of `COLUMNS`."""
    digits = module.digest.removeprefix("sha256:")[:_SHOWN_DIGITS]
    size = size_in_words(module.size_bytes)
    return [str(module.name), module.version, digits, size, module.registry]


def print_modules(modules: Sequence[InstalledModule]) -> None:
    """Print a table of what is installed, if there is anything."""
    if modules:
        rows = [[*module_row(module), kind_in_words(module)] for module in modules]
        table(rows, [*COLUMNS, "kind"])


def size_in_words(size_bytes: int) -> str:
    """Return a size as people say it (`1.2 MB`)."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB"]
    while size >= _KILO and len(units) > 1:
        size /= _KILO
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
