"""Registries that speak the OCI distribution protocol (`specs/oci.md`)."""

from modpm.registry.backends.oci.registry import OciRegistry

__all__ = ["OciRegistry"]
