"""Signatures of releases, in the form of OpenSSF model-signing (`specs/signature.md`)."""
