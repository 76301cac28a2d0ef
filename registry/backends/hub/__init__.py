"""Registries on the Hugging Face Hub (`specs/hub.md`)."""
