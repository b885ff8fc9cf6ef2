"""Causerie: what a chat is, shared by its gateways, workers and clients."""

__version__ = "0.1.0"
