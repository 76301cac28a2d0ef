"""Exporting: a classifier as a file that runs without modpm."""
