"""Costs: how long classifiers take, and the seconds and energy of making modules."""
