"""What the images are called that numbers were measured on, and how numbers are written."""

TEST = "test"
"""The test split, which decides nothing."""

HELD_OUT = "train, held out"
"""The part of the training data that scores are fitted on."""

N_DIGITS = 6
"""Measured numbers are rounded to so many digits, below what any image could change."""
