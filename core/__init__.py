"""Everything with tensors: from the network graph to the classifier."""
