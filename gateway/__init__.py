"""A gateway: one node that holds sockets and nothing else."""
