"""The store: files by their digests, downloaded once for all projects of a user."""
