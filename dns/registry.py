"""Which plugins there are: the name of a directive -> what reads its stanza."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from podwire.dns.plugins import (
    cache,
    errors,
    forward,
    health,
    kubernetes,
    loadbalance,
    prometheus,
    ready,
    reload,
)
from podwire.dns.site import Setup

PLUGINS: Final[Mapping[str, Setup]] = {
    "cache": cache.setup,
    "errors": errors.setup,
    "forward": forward.setup,
    "health": health.setup,
    "kubernetes": kubernetes.setup,
    "loadbalance": loadbalance.setup,
    "prometheus": prometheus.setup,
    "ready": ready.setup,
    "reload": reload.setup,
}
