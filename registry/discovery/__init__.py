"""Finding out: which modules there are, what one is, which are newer."""
