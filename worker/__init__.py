"""The worker: repair, expiry and games."""
