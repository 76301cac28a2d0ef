"""The verbs that need both tensors and registries, and those that stand in groups, as functions."""
