"""Measurements of Causerie and of others on the same machine; see docs/performance.md."""
