"""Variants of class modules whose weights and values have 8 bits."""
