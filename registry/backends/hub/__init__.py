"""Registries on the Hugging Face Hub (`specs/hub.md`)."""

from modpm.registry.backends.hub.registry import HubRegistry

__all__ = ["HubRegistry"]
