"""How channels flow through a network, and what is left of it when some are cut."""
