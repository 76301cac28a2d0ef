"""Choosing releases: what is asked becomes one release for each module, or an explanation."""

from modpm.registry.resolver.refusals import Demand, ResolutionError
from modpm.registry.resolver.resolution import newest_fitting, resolve
from modpm.registry.resolver.shelves import Catalogue

__all__ = ["Catalogue", "Demand", "ResolutionError", "newest_fitting", "resolve"]
