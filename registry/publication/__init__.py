"""From distributions to releases, and what becomes of releases afterwards."""
