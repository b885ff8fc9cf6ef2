"""Chaos: producers that resend, consumers that resume, a nemesis between them, and a checker over all that happened.

`python -m tests.chaos --help` (or `make chaos ARGS=...`) runs it; docs/reliability.md says what it shows.
"""
