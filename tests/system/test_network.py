"""The cluster's network in a user namespace of its own: built twice, complete, and it carries packets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podwire.testing import inside
from tests.needs import lack, need

pytestmark = pytest.mark.system

# Runs as process 1 of the namespaces; prints one JSON object.
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
from podwire.emulator import network, topology
from podwire.emulator.config import ClusterConfig
from podwire.errors import MachineError

subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
directory = Path("/run/netns")
config = ClusterConfig(backend=sys.argv[1])
wanted = topology.topology(config)
home = os.stat("/proc/self/ns/net").st_ino
report = {"before": network.missing(wanted, directory)}
network.build(wanted, directory)
report["built"] = network.missing(wanted, directory)
network.build(wanted, directory)
report["again"] = network.missing(wanted, directory)
report["home"] = os.stat("/proc/self/ns/net").st_ino == home

def inside(name, *command):
    enter = ["nsenter", f"--net={directory / name}", *command]
    return subprocess.run(enter, capture_output=True, text=True)

def pings(name, address, *options):
    return inside(name, "busybox", "ping", "-c1", "-W1", *options, address).returncode == 0

report["addresses"] = {}
for name in ("node-1", "node-2", "node-1-again"):
    node = name[:6]
    conf = topology.network_list(config, node, f"/run/addresses/{node}")
    pod = directory / f"pod-{name}"
    network.make_namespace(pod)
    stdin = {**conf["plugins"][0], "name": conf["name"], "cniVersion": "1.1.0"}
    added = subprocess.run(
        ["nsenter", f"--net={directory / node}", sys.executable, "-m", "podwire.cni"],
        input=json.dumps(stdin), capture_output=True, text=True,
        env={**os.environ, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": name,
             "CNI_NETNS": str(pod), "CNI_IFNAME": "eth0"},
    )
    report["addresses"][name] = json.loads(added.stdout)["ips"][0]["address"]
report["pings"] = {
    "pod to pod on another node": pings("pod-node-1", "10.244.2.2"),
    "a full packet, not split": pings("pod-node-1", "10.244.2.2", "-s", str(topology.pod_mtu(config) - 28)),
    "pod to outside": pings("pod-node-1", "203.0.113.10"),
    "pod to control plane": pings("pod-node-1", "192.168.1.2"),
    "node to pod on another node": pings("node-1", "10.244.2.2"),
    "outside to node": pings("external", "192.168.1.11"),
    "outside to pod": pings("external", "10.244.2.2"),
    "outside to ClusterIP": pings("external", "10.96.0.10"),
    "pod to ClusterIP": pings("pod-node-1", "10.96.0.10"),
    "node to ClusterIP": pings("node-1", "10.96.0.10"),
}

def snmp(name, word):
    rows = [line.split() for line in inside(name, "cat", "/proc/net/snmp").stdout.splitlines()]
    names = next(row for row in rows if word in row)
    return int(next(row for row in rows if row[0] == names[0] and row != names)[names.index(word)])

again = "10.244.1.3"
said = inside("pod-node-1", "busybox", "ping", "-c3", "-i0.2", "-W1", again).stdout
arping = inside("pod-node-1", "busybox", "arping", "-c1", "-w1", "-I", "eth0", again)
own = inside("pod-node-1", "busybox", "arping", "-D", "-c1", "-w1", "-I", "eth0", "10.244.1.2")
report["neighbours"] = {
    "time to live": sorted({word for word in said.split() if word.startswith("ttl=")}),
    "duplicates": "DUP" in said,
    "redirects": snmp("pod-node-1", "InRedirects"),
    "answers to ARP": [line.split()[4] for line in arping.stdout.splitlines() if "reply" in line],
    "its own address is its own": own.returncode == 0,
    "gateway": pings("pod-node-1", "10.244.1.1"),
    "a full packet": pings("pod-node-1", again, "-s", str(topology.pod_mtu(config) - 28)),
}
inside("router", "ip", "route", "add", "10.96.0.0/12", "via", "192.168.1.10")
report["pings"]["outside to ClusterIP by a route"] = pings("external", "10.96.0.10")
arping = inside("router", "busybox", "arping", "-c1", "-w1", "-I", "underlay", "10.96.0.10")
report["pings"]["ARP for a ClusterIP"] = arping.returncode == 0
arping = inside("router", "busybox", "arping", "-c1", "-w1", "-I", "underlay", "192.168.1.10")
report["pings"]["ARP for a node"] = arping.returncode == 0

inside("node-3", "ip", "route", "del", "default")
inside("node-3", "ip", "link", "set", "cni0", "down")
inside("node-3", "ip", "link", "del", "flannel.1")
inside("node-2", "sysctl", "-w", "net.ipv4.conf.all.arp_ignore=0")
report["harmed"] = network.missing(wanted, directory)
network.remove_namespace(directory / "external")
network.remove_namespace(directory / "external")
report["removed"] = network.missing(wanted, directory)
os.environ["PATH"] = "/nonexistent"
network._SBIN = "/nonexistent"
try:
    network.build(wanted, directory)
except MachineError as error:
    report["without nft"] = str(error)
print(json.dumps(report))
"""


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_network(backend: str, tmp_path: Path) -> None:
    need("unshare", "nsenter", "ip", "nft", "busybox")
    if reason := inside.lacking():
        lack(reason)
    script = tmp_path / "build.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["unshare", "-Urnm", "--fork", "--kill-child", sys.executable, "-P", str(script), backend],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)

    assert len(report["before"]) == 5
    assert report["built"] == []
    assert report["again"] == []
    assert report["home"]
    assert report["addresses"] == {
        "node-1": "10.244.1.2/24",
        "node-2": "10.244.2.2/24",
        "node-1-again": "10.244.1.3/24",
    }
    # Pods of one node reach each other through it: one hop less to live, nobody told of a shorter
    # way, and the node alone answers ARP.
    assert report["neighbours"] == {
        "time to live": ["ttl=63"],
        "duplicates": False,
        "redirects": 0,
        "answers to ARP": ["[0a:58:0a:f4:01:01]"],
        "its own address is its own": True,
        "gateway": True,
        "a full packet": True,
    }
    assert report["pings"] == {
        "pod to pod on another node": True,
        "a full packet, not split": True,
        "pod to outside": True,
        "pod to control plane": True,
        "node to pod on another node": True,
        "outside to node": True,
        "outside to pod": False,
        "outside to ClusterIP": False,
        "pod to ClusterIP": False,
        "node to ClusterIP": False,
        "outside to ClusterIP by a route": False,
        "ARP for a ClusterIP": False,
        "ARP for a node": True,
    }
    harmed = "\n".join(report["harmed"])
    assert "node-3: cannot find: add route 0.0.0.0/0 via 192.168.1.1 dev eth0" in harmed
    assert "node-3: cni0 is not up" in harmed
    assert ("node-3: cannot find: add vxlan flannel.1" in harmed) == (backend == "vxlan")
    assert "node-2: sysctl net/ipv4/conf/all/arp_ignore is not 1" in harmed
    assert "node-1" not in harmed
    assert any(line.startswith("external: no namespace at") for line in report["removed"])
    assert "apt install nftables" in report["without nft"]
