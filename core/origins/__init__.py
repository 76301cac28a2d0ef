"""Origins: trained networks that class modules are cut from, wherever they come from."""
