"""Pods bound to a node become pods that run."""
