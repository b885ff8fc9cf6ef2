"""What a process counts: plain integers, raised on the hot path, read by `/metrics` and by tests."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Metrics:
    """Counters since the start of the process, and a few gauges (named `..._now`)."""

    connections: int = 0
    """Connections accepted."""
    connections_now: int = 0
    sessions_now: int = 0
    """Connections that said hello and are still here."""
    hellos: int = 0
    resumes: int = 0
    """Hellos that came back to a session."""
    received: int = 0
    """Lines and frames taken from clients."""
    deliveries: int = 0
    """Messages handed to connections, one for each receiver."""
    writes: int = 0
    """Calls of `transport.write`."""
    encodings: int = 0
    """Batches rendered for a wire protocol other than stored JSON lines."""
    commits: int = 0
    """Messages given to the store."""
    store_batches: int = 0
    """Calls of the append script."""
    log_reads: int = 0
    """Reads of a piece of a log from the store, for repairs and for clients that are behind."""
    gaps: int = 0
    """Times that a gap on the feed was read from the log."""
    forks: int = 0
    """Times that the numbering of a log was found broken."""
    lagging: int = 0
    """Times that a slow client left the live flow."""
    slow_consumers: int = 0
    timeouts: int = 0
    refused: int = 0
    """Errors answered."""
    unavailable: int = 0
    """Sends answered `unavailable`."""

    def values(self) -> dict[str, int]:
        """Every counter by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
