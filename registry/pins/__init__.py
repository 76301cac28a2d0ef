"""Choosing pins: what a project asks for becomes its lockfile."""
