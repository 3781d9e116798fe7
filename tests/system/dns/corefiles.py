"""Pure: the config of a vector -> a Corefile that configures it."""

from typing import Any

Json = dict[str, Any]

NEXT = "127.0.0.1:10053"
"""Where the next plugin, forward, sends what reaches it."""

UNSYNCED = "unsynced.invalid."
"""A zone of a cluster set whose list never ends: all else is known, and yet it is not synced."""

TRANSFERS = ("axfr", "ixfr")


def corefile(config: Json, op: str = "") -> str:
    """Return the Corefile of cases with *config* and *op*."""
    make = _external if config.get("plugin") == "k8s_external" else _kubernetes
    lines = [line for block in make(config, op) for line in block]
    body = "".join(f"    {line}\n" for line in ["errors", *_bind(config), *lines])
    return f".:53 {{\n{body}    forward . {NEXT}\n}}\n"


def own_addresses(config: Json) -> list[str]:
    """Return what the server's interfaces must have, loopback aside."""
    return [a for a in config.get("local_ips", ()) if not _is_loopback(a)]


def _bind(config: Json) -> list[str]:
    # A server learns its own addresses from its interfaces, and loopback is not one of them:
    # it counts only where somebody says that it shall.
    wanted: list[str] = config.get("local_ips") or config.get("server_addresses") or []
    loopback = [a for a in wanted if _is_loopback(a)]
    return [f"bind {' '.join(loopback)}"] if loopback else []


def _kubernetes(config: Json, op: str) -> list[list[str]]:
    zones = list(config["zones"])
    multicluster = list(config.get("multicluster", ()))
    options = [f"pods {config.get('pods', 'disabled')}"]
    if config.get("not_synced"):
        options.append("startup_timeout 200ms")
        if not multicluster:
            zones.append(UNSYNCED)
            multicluster.append(UNSYNCED)
    if config.get("namespaces"):
        options.append(f"namespaces {' '.join(config['namespaces'])}")
    options += [
        f"{name} {config[name]}"
        for name in ("namespace_labels", "labels", "ttl")
        if config.get(name) not in (None, "")
    ]
    options += ["ignore empty_service"] if config.get("ignore_empty_service") else []
    options += [n for n in ("endpoint_pod_names", "noendpoints", "zonal") if config.get(n)]
    options += [f"multicluster {' '.join(multicluster)}"] if multicluster else []
    if config.get("fallthrough") is not None:
        options.append(f"fallthrough {' '.join(config['fallthrough'])}".rstrip())
    blocks = list[list[str]]()
    if op == "autopath_search":
        # Every step of the walk goes on to the upstream, which sees them.
        options.append("fallthrough")
        blocks.append(["autopath @kubernetes"])
    if op in TRANSFERS:
        blocks.append(_block(f"transfer {' '.join(zones)}", ["to *"]))
    return [*blocks, _block(f"kubernetes {' '.join(zones)}", options)]


def _external(config: Json, op: str) -> list[list[str]]:
    del op
    options = [f"{name} {config[name]}" for name in ("apex", "ttl") if name in config]
    options += ["headless"] if config.get("headless") else []
    options += (
        [f"fallthrough {' '.join(config['fallthrough'])}".rstrip()]
        if config.get("fallthrough") is not None
        else []
    )
    exposed = config.get("namespaces")
    inner = [f"namespaces {' '.join(exposed)}"] if exposed else []
    return [
        _block(f"k8s_external {' '.join(config['zones'])}", options),
        _block(f"kubernetes {' '.join(config['kubernetes_zones'])}", inner),
    ]


def _block(head: str, lines: list[str]) -> list[str]:
    if not lines:
        return [head]
    return [f"{head} {{", *(f"   {line}" for line in lines), "}"]


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
