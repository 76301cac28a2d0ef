"""Training composed classifiers further."""
