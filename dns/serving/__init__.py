"""Sockets, pages and counters, and the way in of a question."""
