"""The plugin's network by its packets: masquerade, hairpin, ports of the node, isolated ports.

The cases are those of tests/data/cni/cases.json.
"""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from podwire.testing.machine import Machine

pytestmark = pytest.mark.system


def test_masquerade_and_hairpin(machine: Machine) -> None:
    """What leaves the pod's subnet has the node's address; what stays has the pod's."""
    outside = machine.pod("outside")
    machine.run(
        "ip",
        "link",
        "add",
        "up0",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        "/run/netns/outside",
    )
    machine.run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    machine.run("ip", "link", "set", "up0", "up")
    machine.in_pod(outside, "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
    machine.in_pod(outside, "ip", "link", "set", "eth0", "up")
    pod = machine.pod("p")
    ping = ("busybox", "ping", "-c1", "-W1", "192.0.2.2")
    plain = machine.config(hairpinMode=True)
    host = machine.add(plain, pod).document["interfaces"][1]["name"]
    assert "hairpin on" in machine.run("ip", "-d", "link", "show", "dev", host)
    # The outside has no route back to pods, so that an answer proves the masquerade.
    assert not machine.succeeds("nsenter", f"--net={pod}", *ping)
    machine.delete(plain, pod)
    machine.add(machine.config(ipMasq=True), pod)
    machine.in_pod(pod, *ping)


def test_promiscuous_bridge(machine: Machine) -> None:
    config, pod = machine.config(promiscMode=True), machine.pod("p")
    result = machine.add(config, pod).document
    assert "PROMISC" in machine.run("ip", "link", "show", "dev", "br0")
    checked = config | {"prevResult": result}
    assert machine.call("CHECK", checked, pod).status == 0
    machine.run("ip", "link", "set", "br0", "promisc", "off")
    assert "not promiscuous" in machine.call("CHECK", checked, pod).document["msg"]


def test_ports_of_the_node(machine: Machine) -> None:
    """A10, A17: from the node, its loopback, another host, another pod and the pod itself."""
    outside = machine.pod("outside")
    machine.run(
        "sh",
        "-c",
        "ip link add up0 type veth peer name eth0 netns /run/netns/outside;"
        "ip addr add 192.0.2.1/24 dev up0; ip link set up0 up;"
        "nsenter --net=/run/netns/outside sh -c "
        "'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up'",
    )
    mappings: list[dict[str, object]] = [
        {"HostPort": 18080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"hostPort": 18081, "containerPort": 80, "protocol": "TCP", "hostIP": "192.0.2.1"},
        {"hostPort": 18080, "containerPort": 53, "protocol": "udp"},
    ]
    config = machine.config(ipMasq=True, runtimeConfig={"portMappings": mappings})
    pods = [machine.pod(name) for name in ("p", "q")]
    results = [
        machine.add(config, pod, cid=f"c{number}").document for number, pod in enumerate(pods)
    ]
    checked = config | {"prevResult": results[0]}
    assert machine.call("CHECK", checked, pods[0], cid="c0").status == 0

    def ask(where: str, address: str, port: int = 18080) -> str:
        request = f"echo hello | busybox nc -w 2 {address} {port}"
        enter = ("nsenter", f"--net={where}") if where else ()
        done = subprocess.run(
            machine.inside(*enter, "sh", "-c", request), capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    with ExitStack() as stack:
        for number, pod in enumerate(pods):
            serve = f"exec busybox nc -ll -p 80 -e busybox echo pod {number}"
            server = subprocess.Popen(
                machine.inside("nsenter", f"--net={pod}", "sh", "-c", serve),
                stderr=subprocess.DEVNULL,
            )
            stack.callback(server.wait)
            stack.callback(server.kill)
            while not machine.in_pod(pod, "busybox", "netstat", "-ltn").count(":80 "):
                assert server.poll() is None
        ways = [
            ("", "127.0.0.1", 18080),
            ("", "192.0.2.1", 18080),
            ("", "10.50.0.1", 18080),
            (outside, "192.0.2.1", 18080),
            (outside, "192.0.2.1", 18081),
            (pods[0], "10.50.0.1", 18080),
            (pods[1], "192.0.2.1", 18080),
        ]
        # Both have asked for the same port: the younger has it, and its end leaves the elder's.
        assert [ask(*way) for way in ways] == ["pod 1"] * len(ways)
        assert ask(pods[1], "10.50.0.2", 18080) == ""
        assert ask("", "127.0.0.1", 18081) == ""
        machine.delete(config, pods[1], cid="c1")
        assert [ask(*way) for way in ways if way[0] != pods[1]] == ["pod 0"] * (len(ways) - 1)
        machine.delete(config, pods[0], cid="c0")
        assert ask("", "192.0.2.1") == ""
    assert machine.run("nft", "list", "ruleset") == ""
    gone = machine.call("CHECK", checked, pods[0], cid="c0").document
    assert "nft table inet podwire_ports_" in gone["details"]


SAY_WHO_ASKS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 53))
    sock.settimeout(10)  # so that a test fails rather than waits
    print("ready", flush=True)
    while True:
        print(*sock.recvfrom(99)[1], flush=True)
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5000))
    sock.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
"""


def test_datagrams_to_ports_of_the_node(machine: Machine) -> None:
    """A17: a flow moves to the younger pod, and back; and clients of a Service keep their address."""
    mapping = {"hostPort": 18053, "containerPort": 53, "protocol": "udp"}
    config = machine.config(runtimeConfig={"portMappings": [mapping]})
    pods = [machine.pod(name) for name in ("p", "q", "client")]
    machine.run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
    machine.add(machine.config(), pods[2], cid="c2")
    with ExitStack() as stack:
        servers: list[subprocess.Popen[str]] = []

        def serve(number: int) -> None:
            machine.add(config, pods[number], cid=f"c{number}")
            command = machine.inside(
                "nsenter", f"--net={pods[number]}", sys.executable, "-c", SAY_WHO_ASKS
            )
            server = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(server.kill)
            servers.append(server)
            assert heard(number) == "ready"

        def heard(number: int) -> str:
            stdout = servers[number].stdout
            assert stdout is not None
            return stdout.readline().strip()

        def ask(address: str, port: int) -> None:
            machine.in_pod(pods[2], sys.executable, "-c", ASK, address, str(port))

        serve(0)
        ask("192.0.2.1", 18053)
        assert heard(0).startswith("10.50.0.1 ")
        serve(1)
        ask("192.0.2.1", 18053)
        assert heard(1).startswith("10.50.0.1 ")
        machine.delete(config, pods[1], cid="c1")
        ask("192.0.2.1", 18053)
        assert heard(0).startswith("10.50.0.1 ")
        machine.run(
            "nft",
            "add table ip service;"
            "add chain ip service prerouting { type nat hook prerouting priority -100; };"
            "add rule ip service prerouting ip daddr 10.96.0.80 udp dport 53 dnat to 10.50.0.3",
        )
        ask("10.96.0.80", 53)
        assert heard(0).startswith("10.50.0.2 ")


def test_isolated_ports(machine: Machine) -> None:
    """Pods of one bridge do not hear each other, and both hear their gateway; CHECK wants it so."""
    config = machine.config(portIsolation=True)
    pods = [machine.pod(name) for name in ("p", "q")]
    added = [
        machine.add(config, pod, environ={"CNI_CONTAINERID": f"c{number}"})
        for number, pod in enumerate(pods, 1)
    ]
    other = added[1].address.partition("/")[0]
    gateway = added[0].document["ips"][0]["gateway"]
    assert machine.succeeds("nsenter", f"--net={pods[0]}", "busybox", "ping", "-c1", "-W1", gateway)
    ping = ("nsenter", f"--net={pods[0]}", "busybox", "ping", "-c1", "-W1", other)
    assert not machine.succeeds(*ping)
    checked = {**config, "prevResult": added[0].document}
    assert machine.call("CHECK", checked, pods[0]).status == 0
    for each in added:
        host = each.document["interfaces"][1]["name"]
        machine.run("bridge", "link", "set", "dev", host, "isolated", "off")
    assert "not an isolated port" in machine.call("CHECK", checked, pods[0]).stdout
    machine.run(*ping)
