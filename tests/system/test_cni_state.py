"""The plugin and what it keeps: addresses, rules and interfaces, over many calls and after harm.

The cases are those of tests/data/cni/cases.json.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from podwire.testing.machine import Answer, Machine

pytestmark = pytest.mark.system


def test_many_at_once(machine: Machine) -> None:
    """A14."""
    count = 50
    machine.run(
        "sh",
        "-c",
        f"for i in $(seq {count}); do touch /run/netns/m$i; unshare --net=/run/netns/m$i true; done",
    )
    config = machine.config(ipMasq=True)
    with ThreadPoolExecutor(8) as pool:

        def add(number: int) -> Answer:
            return machine.add(config, f"/run/netns/m{number}", cid=f"c{number}")

        def remove(number: int) -> None:
            machine.delete(config, cid=f"c{number}")

        answers = list(pool.map(add, range(1, count + 1)))
        assert len({answer.address for answer in answers}) == count
        assert len({answer.document["interfaces"][2]["mac"] for answer in answers}) == count
        assert len({answer.document["interfaces"][1]["name"] for answer in answers}) == count
        assert {answer.document["interfaces"][0]["mac"] for answer in answers} == {
            "0a:58:0a:32:00:01"
        }
        assert machine.run("nft", "list", "tables").count("podwire_masquerade") == count
        list(pool.map(remove, range(1, count + 1)))
    assert machine.reserved() == []
    assert [link["ifname"] for link in machine.ip("link")] == ["lo", "br0"]
    assert machine.run("nft", "list", "tables") == ""


def test_bridge_with_another_address(machine: Machine) -> None:
    """A16."""
    machine.run("ip", "link", "add", "br0", "type", "bridge")
    machine.run("ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
    pod, before = machine.pod("p"), machine.state()
    answer = machine.call("ADD", machine.config(), pod)
    assert "already has an IP address different from 10.50.0.1/24" in answer.document["msg"]
    assert machine.reserved() == []
    assert "10.77.0.1" in before
    assert "10.77.0.1" in machine.state()
    config = machine.config(forceAddress=True)
    result = machine.add(config, pod).document
    assert "10.77.0.1" not in machine.state()
    # It keeps its MAC when it gets ports, though nobody ever set one.
    machine.add(config, machine.pod("q"), cid="c2", environ={"CNI_ARGS": "MAC=02:00:00:00:00:01"})
    assert machine.call("CHECK", config | {"prevResult": result}, pod).status == 0


@pytest.mark.parametrize(
    "previous",
    [
        None,
        {},
        {"cniVersion": "0.1.0", "ip4": {"ip": "10.50.0.2/24"}},
        {"cniVersion": "1.0.0", "ips": [{"address": "nonsense", "interface": 99}]},
        "text",
    ],
)
def test_delete_with_any_previous_result(machine: Machine, previous: object) -> None:
    """D05."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    before = machine.state()
    machine.add(config, pod)
    machine.delete(config | {"prevResult": previous}, pod)
    machine.run("ip", "link", "del", "br0")
    assert machine.state() == before


@pytest.mark.parametrize(
    "harm",
    [
        "ip link del br0",
        "ip link del $(ip -o link | grep -o 'pw[0-9a-f]*' | head -1)",
        "nft flush ruleset",
        "umount /run/netns/p; rm /run/netns/p",
        "rm -r {data}",
        "mount -t tmpfs none {data}",
    ],
)
def test_delete_when_something_is_gone(machine: Machine, harm: str) -> None:
    """D07."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    machine.add(config, pod)
    machine.run("sh", "-c", harm.format(data=machine.data_dir))
    machine.delete(config, pod)
    assert not [link for link in machine.ip("link") if link["ifname"].startswith("pw")]
    assert machine.run("nft", "list", "ruleset") == ""


@pytest.mark.parametrize(
    "change",
    [
        {"ipMasq": False},
        {"ipMasq": False, "bridge": "other", "mtu": -1},
        {"ipam": {"type": "host-local", "subnet": "broken", "dataDir": "DATA"}},
        {"ipam": {"type": "host-local", "subnet": "10.60.0.0/24", "dataDir": "DATA"}},
    ],
)
def test_delete_under_a_changed_list(machine: Machine, change: dict[str, Any]) -> None:
    """D08: found by id and interface, not by what the configuration says now."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    machine.add(config, pod)
    later = json.loads(json.dumps(config | change).replace("DATA", str(machine.data_dir)))
    machine.delete(later, pod)
    assert machine.reserved() == []
    assert [link["ifname"] for link in machine.ip("link")] == ["lo", "br0"]
    assert machine.run("nft", "list", "ruleset") == ""


def test_garbage_collection(machine: Machine) -> None:
    """G02: what cannot be removed is reported, all else is removed; null means: nothing is valid."""
    config = machine.config("1.1.0", ipMasq=True)
    foreign = machine.config("1.1.0", ipMasq=True, name="other", bridge="br1")
    foreign["ipam"] = machine.ipam(subnet="10.51.0.0/24")
    for number in (1, 2, 3):
        machine.add(config, machine.pod(f"p{number}"), cid=f"c{number}")
    machine.add(foreign, machine.pod("f"), cid="f1")
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    (machine.data_dir / "net" / "10.50.0.3.d").mkdir()  # Nobody's, and unlink cannot remove it.
    answer = machine.call("GC", config | {"cni.dev/valid-attachments": valid}, cid="", ifname="")
    assert answer.status == 1
    assert "10.50.0.3.d" in answer.document["details"]
    (machine.data_dir / "net" / "10.50.0.3.d").rmdir()
    answer = machine.call("GC", config | {"cni.dev/valid-attachments": valid}, cid="", ifname="")
    assert answer.status == 0
    assert machine.reserved() == ["10.50.0.3"]
    assert len([link for link in machine.ip("link") if link["ifname"].startswith("pw")]) == 2
    assert machine.run("nft", "list", "tables").count("masquerade") == 2
    machine.call("GC", config | {"cni.dev/valid-attachments": None}, cid="", ifname="")
    assert machine.reserved() == []
    assert machine.reserved("other") == ["10.51.0.2"]
    assert machine.run("nft", "list", "tables").count("masquerade") == 1


def test_status(machine: Machine) -> None:
    """S01."""
    small = machine.ipam(subnet="10.50.0.0/30")
    config = machine.config("1.1.0", ipam=small)
    blank: dict[str, Any] = {"cid": "", "ifname": ""}
    assert machine.call("STATUS", config, **blank).status == 0
    machine.add(config, machine.pod("p"))
    full = machine.call("STATUS", config, **blank)
    assert full.code == 50
    assert "no IP addresses available" in full.document["msg"]
    machine.delete(config)
    assert machine.call("STATUS", config, **blank).status == 0
    for harm in ({"ipam": {"type": "nosuch"}}, {"bridge": "lo"}):
        assert machine.call("STATUS", config | harm, **blank).code == 50
    machine.run("mount", "--bind", "-o", "ro", str(machine.data_dir), str(machine.data_dir))
    machine.run("mount", "-o", "remount,bind,ro", str(machine.data_dir))
    assert machine.call("STATUS", config, **blank).code == 50
    machine.run("umount", str(machine.data_dir))
    machine.add(config, machine.pod("q"))


def test_killed_half_way(machine: Machine) -> None:
    """A reservation has its owner's name from the first moment, so DEL frees it at any time."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    before = machine.state()
    hold = machine.directory / "hold"
    hold.mkdir()
    # nft is started after the address is reserved and before there is an interface.
    (hold / "nft").write_text("#!/bin/sh\nkill -9 $PPID\n")
    (hold / "nft").chmod(0o755)
    killed = subprocess.run(
        machine.inside(str(machine.plugins / "podwire")),
        input=json.dumps(config).encode(),
        capture_output=True,
        check=False,
        env={
            "PATH": f"{hold}:{os.environ['PATH']}",
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": pod,
            "CNI_IFNAME": "eth0",
        },
    )
    assert killed.returncode == -9
    assert machine.reserved() == ["10.50.0.2"]
    assert "has been allocated to c1" in machine.call("ADD", config, pod).document["msg"]
    machine.delete(config)
    assert machine.state() == before
    (machine.data_dir / "net" / "draft").write_text("")  # Killed a moment sooner.
    assert machine.add(config, pod).address == "10.50.0.3/24"


def test_small_pool(machine: Machine) -> None:
    """I01: network, broadcast and gateway addresses are never given."""
    config = machine.config(ipam=machine.ipam(subnet="10.95.0.0/29"))
    given: list[str] = []
    for number in range(1, 6):
        given.append(machine.add(config, machine.pod(f"p{number}"), cid=f"c{number}").address)
    assert given == [f"10.95.0.{n}/29" for n in range(2, 7)]
    last, before = machine.pod("p6"), machine.state()
    answer = machine.call("ADD", config, last, cid="c6")
    assert "no IP addresses available in range set: 10.95.0.1-10.95.0.6" in answer.document["msg"]
    assert machine.state() == before
    machine.delete(config, cid="c3")
    assert machine.add(config, last, cid="c6").address == "10.95.0.4/29"


@pytest.mark.parametrize("fault", ["read-only", "file", "full"])
def test_broken_data_directory(machine: Machine, fault: str) -> None:
    """I03."""
    data = machine.data_dir
    pod = machine.pod("p")
    config = machine.config()
    if fault == "file":
        data.write_text("")
    else:
        data.mkdir()
        option = "nr_inodes=2" if fault == "full" else "ro"
        machine.run("mount", "-t", "tmpfs", "-o", option, "tmpfs", str(data))
    before = machine.state()
    answer = machine.call("ADD", config, pod)
    assert str(data) in answer.document["msg"], answer
    assert machine.state() == before
    assert machine.run("sh", "-c", f"find {data} -name '10.*'") == ""
    machine.delete(config, pod)


def test_both_families(machine: Machine) -> None:
    """I06: and if the second set is exhausted, the address of the first is freed."""
    ranges = [[{"subnet": "10.50.0.0/24"}], [{"subnet": "fd00:50::/126", "rangeEnd": "fd00:50::2"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.9.0.0/16", "gw": "10.50.0.7"}]
    config = machine.config("0.4.0", ipam=machine.ipam(ranges=ranges, routes=routes))
    pod = machine.pod("p")
    result = machine.add(config, pod).document
    assert [ip["address"] for ip in result["ips"]] == ["10.50.0.2/24", "fd00:50::2/126"]
    assert [ip["version"] for ip in result["ips"]] == ["4", "6"]
    machine.in_pod(pod, "busybox", "ping", "-c1", "-W2", "10.50.0.1")
    machine.in_pod(pod, "busybox", "ping6", "-c1", "-W2", "fd00:50::1")
    assert "via 10.50.0.7" in machine.in_pod(pod, "ip", "route", "show", "10.9.0.0/16")
    assert machine.call("CHECK", config | {"prevResult": result}, pod).status == 0
    answer = machine.call("ADD", config, machine.pod("q"), cid="c2")
    assert "failed to allocate for range 1" in answer.document["msg"]
    assert machine.reserved() == ["10.50.0.2", "fd00:50::2"]


def test_addresses_rise(machine: Machine) -> None:
    """I07: an address just freed rests until the search comes round."""
    config, pod = machine.config(), machine.pod("p")
    given: list[str] = []
    for _ in range(6):
        given.append(machine.add(config, pod).address)
        machine.delete(config, pod)
    assert given == [f"10.50.0.{n}/24" for n in range(2, 8)]
