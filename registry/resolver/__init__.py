"""Choosing releases: what is asked becomes one release for each module, or an explanation."""

from modpm.registry.resolver.demands import Catalogue, Demand
from modpm.registry.resolver.refusals import ResolutionError
from modpm.registry.resolver.resolution import newest_fitting, resolve

__all__ = ["Catalogue", "Demand", "ResolutionError", "newest_fitting", "resolve"]
