"""What the mode ipvs does to a kernel beside ip_vs itself: rules, addresses. Prints JSON.

Run in a network namespace of its own.
"""

import asyncio
import json
import subprocess
import sys
from ipaddress import IPv4Address
from typing import Any

from podwire.kube.names import Key
from podwire.proxy.ipvs import ground, rules
from podwire.proxy.ipvs.kernel import find_family
from tests.unit.proxy.written import node, ports

WEB = Key("default", "web")
FULL = ports(
    "10.244.1.2:8080@node-1",
    port="web=80:30080",
    load_balancer=("203.0.113.7",),
    external_ips=("198.51.100.1",),
    load_balancer_source_ranges=("192.168.0.0/16", "10.0.0.0/8", "10.1.0.0/16"),
    health_check_node_port=32000,
)
VIEWS = (
    node(),
    node(masquerade_all=True),
    node(cluster_cidr=None),
    node(detect_local="NodeCIDR"),
)


async def main() -> None:
    """Make the experiments."""
    found: dict[str, Any] = {"family": find_family(), "nlctrl": find_family("nlctrl")}
    members = rules.Members()
    members.update({WEB: FULL}, node())
    for view in VIEWS:
        await ground.load(rules.script(members.all(), view))
    found["loaded"] = await ground.is_loaded()
    found["sets"] = sets()
    more = members.update({Key("default", "dns"): ports("", name="dns", port="53/UDP")}, node())
    await ground.load(rules.update(more))
    found["more"] = sets()["KUBE-CLUSTER-IP"]
    less = members.update({Key("default", "dns"): (), WEB: ()}, node())
    await ground.load(rules.update(less))
    found["less"] = sets()
    await ground.unload()
    found["unloaded"] = not await ground.is_loaded()
    found["addresses"] = addresses()
    json.dump(found, sys.stdout)


def addresses() -> list[Any]:
    """Bind, change and release addresses; return which of them answered each time."""
    two = frozenset(map(IPv4Address, ("10.96.0.1", "198.51.100.1")))
    three = frozenset(map(IPv4Address, ("10.96.0.1", "10.96.0.2")))
    seen: list[Any] = []
    kept = ground.Addresses()
    kept.bind(two)
    seen.append(local())
    kept.bind(three)
    seen.append(local())
    other = ground.Addresses()  # a proxy that has started again
    other.bind(two, afresh=True)
    seen.append(local())
    seen.append(kept.intact())
    seen.append(other.intact())
    ground.unbind()
    ground.unbind()
    seen.append(local())
    seen.append(other.intact())
    return seen


def local() -> list[str]:
    """Return which addresses are the machine's, by route or by device."""
    wanted = ("10.96.0.1", "10.96.0.2", "198.51.100.1")
    found: list[str] = []
    for address in wanted:
        asked = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True)
        if asked.stdout.startswith("local"):
            found.append(address)
    return found


def sets() -> dict[str, list[Any]]:
    """Return what nft says is in each set."""
    shown = subprocess.run(
        ["nft", "-j", "list", "table", "ip", rules.TABLE], capture_output=True, check=True
    )
    listed = json.loads(shown.stdout)["nftables"]
    return {
        each["set"]["name"]: [words(e) for e in each["set"].get("elem", [])]
        for each in listed
        if "set" in each
    }


def words(element: Any) -> str:
    """Return an element of a set as it is written."""
    match element:
        case {"concat": [*parts]}:
            return " . ".join(words(part) for part in parts)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return f"{address}/{length}"
        case _:
            return str(element)


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
asyncio.run(main())
