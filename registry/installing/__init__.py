"""From a lockfile to installed modules: fetching, trusting, verifying, switching."""
