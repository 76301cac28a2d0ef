"""Registries that speak the OCI distribution protocol (`specs/oci.md`)."""
