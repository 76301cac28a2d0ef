"""Composition: classifiers made of class modules without training, adjusted and changed."""
