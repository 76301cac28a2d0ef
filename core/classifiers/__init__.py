"""Classifiers and class modules: what they say of images, their folders, and their worth."""
