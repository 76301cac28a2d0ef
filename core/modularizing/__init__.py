"""Modularizing: module masks, class modules cut by them, and their calibrated scores."""
