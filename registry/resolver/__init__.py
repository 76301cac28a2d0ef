"""Choosing releases: what is asked becomes one release for each module, or an explanation."""
