"""A container as a node: its network, the service proxy, and sockets lent to others."""
