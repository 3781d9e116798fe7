"""Pods that are to stay: Deployments, ReplicaSets, DaemonSets, StatefulSets, and their budgets."""
