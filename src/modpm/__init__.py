"""A registry and package manager for CNN class modules.

The verbs of the command line, as functions. Each loads what it needs at first use, so
that `import modpm` costs nothing and torch starts only where tensors are handled.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modpm.composing import compose
    from modpm.core.composition.class_module import ClassModule
    from modpm.core.composition.classifier import Classifier
    from modpm.core.modularizing.modularize import modularize
    from modpm.core.training.loop import train
    from modpm.loading import load
    from modpm.packing import pack
    from modpm.registry.discovery.searching import search
    from modpm.registry.installing.installation import install
    from modpm.registry.publication.publishing import publish
    from modpm.registry.publication.reindexing import reindex

__version__ = "0.1.0"

__all__ = [
    "ClassModule",
    "Classifier",
    "__version__",
    "compose",
    "install",
    "load",
    "modularize",
    "pack",
    "publish",
    "reindex",
    "search",
    "train",
]

_HOMES = {
    "ClassModule": "modpm.core.composition.class_module",
    "Classifier": "modpm.core.composition.classifier",
    "compose": "modpm.composing",
    "install": "modpm.registry.installing.installation",
    "load": "modpm.loading",
    "modularize": "modpm.core.modularizing.modularize",
    "pack": "modpm.packing",
    "publish": "modpm.registry.publication.publishing",
    "reindex": "modpm.registry.publication.reindexing",
    "search": "modpm.registry.discovery.searching",
    "train": "modpm.core.training.loop",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'modpm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
