"""Logs: one line an event on standard error, which leaves standard output to the `ready` line."""

import logging
import sys

import structlog


def configure(level: str) -> None:
    """Log what is at least `level` (`debug`, `info`, `warning`, `error`), ours and that of libraries."""
    least = logging.getLevelNamesMapping()[level.upper()]
    plain = "%(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=max(least, logging.INFO), stream=sys.stderr, format=plain)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"], sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
