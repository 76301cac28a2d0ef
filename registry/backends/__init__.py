"""The kinds of registries: one file for each, behind `protocol.Backend`."""
