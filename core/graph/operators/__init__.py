"""The operators of a network graph, a file for each family: all that is known of each."""
