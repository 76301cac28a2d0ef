"""How modules are printed, by every verb that lists some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.output import Marked, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.registry.backends.protocol import Published
    from modpm.registry.installing.installed import InstalledModule
    from modpm.registry.projects.lockfile import Pin

Row = dict[str, object]
"""What stands in a row, by its columns; None where there is nothing to say."""

_SHOWN_DIGITS = 12
_KILO = 1000


def module_data(module: InstalledModule | Published) -> dict[str, str | int | None]:
    """Return what scripts read of a module."""
    return {
        "name": str(module.name),
        "version": module.version,
        "digest": module.digest,
        "size_bytes": module.size_bytes,
        "registry": module.registry,
        "signer": module.signer,
    }


def installed_data(module: InstalledModule) -> dict[str, str | int | None]:
    """Return what scripts read of an installed module or composition."""
    return {**module_data(module), "kind": kind_in_words(module), "yanked": module.yanked}


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


def module_row(module: InstalledModule | Published, **more: object) -> Row:
    """Return what people read of a module, narrow columns first."""
    return {
        "name": module.name,
        "version": module.version,
        "size": size_in_words(module.size_bytes),
        **more,
        "digest": digits(module.digest),
        "signer": digits(module.signer),
    }


def print_copies(modules: Sequence[Published]) -> None:
    """Print a table of what a registry has now, and what of it is new there."""
    states = [Marked("new", "green") if one.is_new else "there" for one in modules]
    rows = zip(modules, states, strict=True)
    print_by_registry([(one.registry, module_row(one, state=state)) for one, state in rows])


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table without the columns in which no row says anything."""
    said = [key for key in (rows[0] if rows else {}) if any(row[key] is not None for row in rows)]
    if rows:
        table([[row[key] for key in said] for row in rows], said)


def print_by_registry(rows: Sequence[tuple[str, Row]]) -> None:
    """Print a table for each registry, below its name, in the order of the first of each."""
    tables: dict[str, list[Row]] = {}
    for registry, row in rows:
        tables.setdefault(registry, []).append(row)
    for i, (registry, its) in enumerate(tables.items()):
        if i:
            show()
        show(f"registry {registry}")
        print_rows(its)


def print_modules(modules: Sequence[InstalledModule]) -> None:
    """Print tables of what is installed, and which of it is known to be yanked."""
    has_kinds = any(module.is_composition for module in modules)
    rows = []
    for module in modules:
        state = Marked("yanked", "red") if module.yanked is not None else None
        kind = kind_in_words(module) if has_kinds else None
        rows.append((module.registry, module_row(module, state=state, kind=kind)))
    print_by_registry(rows)


def digits(digest: str | None) -> str | None:
    """Return the first digits of a digest or of the id of a key, which tell it from others."""
    return None if digest is None else digest.removeprefix("sha256:")[:_SHOWN_DIGITS]


def size_in_words(size_bytes: int) -> str:
    """Return a size as people say it (`1.2 MB`)."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB"]
    while size >= _KILO and len(units) > 1:
        size /= _KILO
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
