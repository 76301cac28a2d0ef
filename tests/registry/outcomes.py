"""What a command has left in a project, and what it has refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.installing.installed import installed
from modpm.registry.installing.verification import verify_module
from modpm.registry.projects.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def present(project: Path) -> dict[str, str]:
    """Return the names and versions of what is installed."""
    return {str(module.name): module.version for module in installed(project)}


def present_and_whole(project: Path) -> dict[str, str]:
    """Return what is installed, every byte of it verified."""
    place = Project(project)
    lock = place.installed()
    for pin in lock.pins if lock is not None else ():
        verify_module(place.module_path(pin), pin)
    return present(project)


def refused(command: Callable[[], object]) -> ModpmError:
    """Return the error that a command ends with."""
    with pytest.raises(ModpmError) as caught:
        command()
    return caught.value
