"""Containers that others started, as Nodes and Pods: by their labels and the engine's events."""
