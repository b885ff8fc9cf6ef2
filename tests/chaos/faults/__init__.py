"""What goes wrong: ONE FUNCTION A FAULT, each does something and heals it. They run side by side."""

from tests.chaos.faults import clients, failover, network, programs, store

__all__ = ["clients", "failover", "network", "programs", "store"]
