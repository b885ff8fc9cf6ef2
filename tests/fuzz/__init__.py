"""Fuzzing: bytes that are noise or nearly sense, against the codecs and a real gateway.

The suite runs a few (`test_codecs.py`, `test_gateway.py`); `make fuzz DURATION=10m` runs them for that long.
"""
