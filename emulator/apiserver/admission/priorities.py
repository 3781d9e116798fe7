"""Pure: how important pods are: the priority classes that every cluster has, and the limits.

Source: pkg/apis/scheduling/helpers.go of Kubernetes 1.32.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

HIGHEST = 1_000_000_000
"""The highest priority that users may define."""

SYSTEM: Mapping[str, int] = MappingProxyType(
    {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
)

_USE = {
    "system-cluster-critical": (
        "Used for system critical pods that must run in the cluster, but can be moved to another "
        "node if necessary."
    ),
    "system-node-critical": (
        "Used for system critical pods that must not be moved from their current node."
    ),
}


def system_classes() -> tuple[dict[str, Any], ...]:
    """Return the PriorityClasses of every cluster."""
    return tuple(
        {"metadata": {"name": name}, "value": value, "description": _USE[name]}
        for name, value in SYSTEM.items()
    )
