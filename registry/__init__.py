"""Names, versions and bytes: publishing, resolving, locking and installing, without torch."""
