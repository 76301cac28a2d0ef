"""A registry and package manager for CNN class modules.

The verbs of the command line, as functions of the same names and options. Each loads what it needs
at first use, so that `import modpm` costs nothing and torch starts only where tensors are handled.
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's own takes longer to import than all of this
if TYPE_CHECKING:
    from modpm.browsing.browse import browse
    from modpm.core.checking import check
    from modpm.core.classifiers.class_module import ClassModule
    from modpm.core.classifiers.classifier import Classifier
    from modpm.core.modularizing.modularize import modularize
    from modpm.core.training.loop import train
    from modpm.registry.backends.hub.login import login, logout, whoami
    from modpm.registry.discovery.information import info
    from modpm.registry.discovery.outdated import outdated
    from modpm.registry.discovery.searching import search
    from modpm.registry.installing.installation import install, remove, sync, update
    from modpm.registry.installing.installed import installed
    from modpm.registry.installing.verification import verify
    from modpm.registry.pins.locking import lock
    from modpm.registry.projects.editing import init
    from modpm.registry.projects.requirement_graph import tree
    from modpm.registry.publication.changing import reindex, tag, untag, unyank, yank
    from modpm.registry.publication.mirroring import mirror
    from modpm.verbs import cache, key, trust
    from modpm.verbs.benchmarking import benchmark
    from modpm.verbs.composing import compose
    from modpm.verbs.doctor import doctor
    from modpm.verbs.estimating import estimate_latency, measure_machine
    from modpm.verbs.exporting import export
    from modpm.verbs.finetuning import finetune
    from modpm.verbs.judging import evaluate, predict
    from modpm.verbs.loading import load
    from modpm.verbs.measuring_update import measure_update
    from modpm.verbs.packing import pack
    from modpm.verbs.patching import patch
    from modpm.verbs.publishing import publish
    from modpm.verbs.quantizing import quantize
    from modpm.verbs.releases import check_versions
    from modpm.verbs.replacing import replace
    from modpm.verbs.verifying_accuracy import verify_accuracy

__version__ = "0.1.0"

__all__ = [
    "ClassModule",
    "Classifier",
    "__version__",
    "benchmark",
    "browse",
    "cache",
    "check",
    "check_versions",
    "compose",
    "doctor",
    "estimate_latency",
    "evaluate",
    "export",
    "finetune",
    "info",
    "init",
    "install",
    "installed",
    "key",
    "load",
    "lock",
    "login",
    "logout",
    "measure_machine",
    "measure_update",
    "mirror",
    "modularize",
    "outdated",
    "pack",
    "patch",
    "predict",
    "publish",
    "quantize",
    "reindex",
    "remove",
    "replace",
    "search",
    "sync",
    "tag",
    "train",
    "tree",
    "trust",
    "untag",
    "unyank",
    "update",
    "verify",
    "verify_accuracy",
    "whoami",
    "yank",
]

_HOMES = {
    "ClassModule": "modpm.core.classifiers.class_module",
    "Classifier": "modpm.core.classifiers.classifier",
    "benchmark": "modpm.verbs.benchmarking",
    "browse": "modpm.browsing.browse",
    "check": "modpm.core.checking",
    "check_versions": "modpm.verbs.releases",
    "compose": "modpm.verbs.composing",
    "doctor": "modpm.verbs.doctor",
    "estimate_latency": "modpm.verbs.estimating",
    "evaluate": "modpm.verbs.judging",
    "export": "modpm.verbs.exporting",
    "finetune": "modpm.verbs.finetuning",
    "info": "modpm.registry.discovery.information",
    "init": "modpm.registry.projects.editing",
    "install": "modpm.registry.installing.installation",
    "installed": "modpm.registry.installing.installed",
    "load": "modpm.verbs.loading",
    "lock": "modpm.registry.pins.locking",
    "login": "modpm.registry.backends.hub.login",
    "logout": "modpm.registry.backends.hub.login",
    "measure_machine": "modpm.verbs.estimating",
    "measure_update": "modpm.verbs.measuring_update",
    "mirror": "modpm.registry.publication.mirroring",
    "modularize": "modpm.core.modularizing.modularize",
    "outdated": "modpm.registry.discovery.outdated",
    "pack": "modpm.verbs.packing",
    "patch": "modpm.verbs.patching",
    "predict": "modpm.verbs.judging",
    "publish": "modpm.verbs.publishing",
    "quantize": "modpm.verbs.quantizing",
    "reindex": "modpm.registry.publication.changing",
    "remove": "modpm.registry.installing.installation",
    "replace": "modpm.verbs.replacing",
    "search": "modpm.registry.discovery.searching",
    "sync": "modpm.registry.installing.installation",
    "tag": "modpm.registry.publication.changing",
    "train": "modpm.core.training.loop",
    "tree": "modpm.registry.projects.requirement_graph",
    "untag": "modpm.registry.publication.changing",
    "unyank": "modpm.registry.publication.changing",
    "update": "modpm.registry.installing.installation",
    "verify": "modpm.registry.installing.verification",
    "verify_accuracy": "modpm.verbs.verifying_accuracy",
    "whoami": "modpm.registry.backends.hub.login",
    "yank": "modpm.registry.publication.changing",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home at first use."""
    if name in {"cache", "key", "trust"}:
        return import_module(f"modpm.verbs.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'modpm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
