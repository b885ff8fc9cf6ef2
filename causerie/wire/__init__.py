"""The wire protocols, sans I/O, both directions: bytes to values and values to bytes, no loop, no socket."""
