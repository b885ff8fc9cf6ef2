"""Other servers doing the same work: small programs on them, and how they are installed, started and spoken to."""
