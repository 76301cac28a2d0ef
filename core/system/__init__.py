"""What the machine gives: files that outlast a crash, threads, the user's folder."""
