"""The kinds of registries: one file or folder for each, behind `protocol.Backend`."""
