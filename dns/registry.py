"""Which plugins there are: the name of a directive -> what reads its stanza, or all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from podwire.dns.plugins import (
    any as any_,
)
from podwire.dns.plugins import (
    autopath,
    bufsize,
    cache,
    chaos,
    debug,
    errors,
    forward,
    health,
    hosts,
    k8s_external,
    kubernetes,
    loadbalance,
    log,
    loop,
    metadata,
    minimal,
    prometheus,
    ready,
    reload,
    rewrite,
    template,
    transfer,
    whoami,
)
from podwire.dns.site import Setup, SetupOfAll

PLUGINS: Final[Mapping[str, Setup]] = {
    "any": any_.setup,
    "autopath": autopath.setup,
    "bufsize": bufsize.setup,
    "cache": cache.setup,
    "chaos": chaos.setup,
    "debug": debug.setup,
    "errors": errors.setup,
    "forward": forward.setup,
    "health": health.setup,
    "hosts": hosts.setup,
    "k8s_external": k8s_external.setup,
    "kubernetes": kubernetes.setup,
    "loadbalance": loadbalance.setup,
    "loop": loop.setup,
    "metadata": metadata.setup,
    "minimal": minimal.setup,
    "prometheus": prometheus.setup,
    "ready": ready.setup,
    "reload": reload.setup,
    "whoami": whoami.setup,
}

GATHERED: Final[Mapping[str, SetupOfAll]] = {
    "log": log.setup,
    "rewrite": rewrite.setup,
    "template": template.setup,
    "transfer": transfer.setup,
}
"""Plugins whose lines in a block, however many, make one plugin."""

REPEATABLE: Final = frozenset({"forward"})
"""Plugins that a block may have several of, each from a line of its own."""
