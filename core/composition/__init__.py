"""Composition: classifiers made of class modules without training, and what they are worth."""
