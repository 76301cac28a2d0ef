"""Modularizing while training: mask generators, losses, the loop and the run folder."""
