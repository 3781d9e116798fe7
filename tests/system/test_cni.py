"""The plugin as runtimes start it: one attachment, its environment, and what is refused.

The cases are those of tests/data/cni/cases.json; test_cni_state.py has those about what is kept,
test_cni_traffic.py those about packets.
P13 (one document on standard output) is checked by the machine at every call.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podwire.testing.machine import VERSIONS, Machine

pytestmark = pytest.mark.system

CASES = Path(__file__).parents[1] / "data" / "cni" / "cases.json"
PROGRAM = Path(__file__).parents[2] / "cni" / "podwire-cni"


def test_every_case_has_a_test() -> None:
    wanted = {case["id"] for case in json.loads(CASES.read_text())["cases"]}
    tested = set(
        re.findall(
            r"\b([PADCGSIR]\d\d)\b",
            "".join(p.read_text() for p in Path(__file__).parent.glob("test_cni*.py")),
        )
    )
    assert wanted - tested == set()


# P04, P05, P07, P09, P12: what is refused before anything happens, with the code of the error.
@pytest.mark.parametrize(
    ("commands", "environ", "stdin", "code"),
    [
        (["FROB", "add"], {}, None, 4),
        *(
            (["ADD", "DEL"], {"CNI_CONTAINERID": cid}, None, 4)
            for cid in ("../../etc", "-x", "a/b", "a b", "abc\n", "")
        ),
        *(
            (["ADD", "DEL"], {"CNI_IFNAME": name}, None, 4)
            for name in ("", ".", "..", "a/b", "a:b", "a b", "sixteen-letters-", "eth%d", "e\udcff")
        ),
        *(
            (["ADD", "CHECK", "DEL"], {}, stdin, 6)
            for stdin in (
                b"",
                b"null",
                b"{not json",
                b"[1,2]",
                b'{"name":"\xff"}',
                '{"name":"net","cniVersion":"1.0.0"}'.encode("utf-16"),
                b'{"name":"net"} {}',
                b'{"name":"net","mtu":' + b"9" * 5000 + b"}",
                b"[" * (2 << 20),
            )
        ),
        (["ADD", "DEL"], {}, b'{"name":"net","cniVersion":"9.9.9"}', 1),
        (["ADD", "DEL"], {}, b'{"name":"net","cniVersion":"abc"}', 1),
        (["ADD", "DEL"], {}, b'{"name":"net","cniVersion":"1.1"}', 1),
        (["ADD", "DEL"], {}, b'{"name":"net","cniVersion":1}', 6),
        (["ADD", "DEL"], {}, b'{"name":"../x","cniVersion":"1.0.0"}', 7),
        (["ADD", "DEL"], {}, b'{"cniVersion":"1.0.0"}', 7),
        (["CHECK"], {}, b'{"name":"net","cniVersion":"0.3.1"}', 1),
        (["STATUS", "GC"], {}, b'{"name":"net","cniVersion":"1.0.0"}', 1),
        (["CHECK", "STATUS", "GC"], {}, b'{"name":"net"}', 1),
    ],
)
def test_refused(
    machine: Machine, commands: list[str], environ: dict[str, str], stdin: bytes | None, code: int
) -> None:
    pod, before = machine.pod("p"), machine.state()
    for command in commands:
        given = machine.config() if stdin is None else stdin
        answer = machine.call(command, given, pod, environ=environ)
        assert (answer.status, answer.code) == (1, code), answer
        if code == 1 and command in ("ADD", "DEL"):
            assert '"1.1.0"' in answer.document["details"]
    assert machine.state() == before
    assert sorted(p.name for p in machine.directory.iterdir()) == ["plugins"]


# A16 and the configurations of 3.4: refused, and the message names the member.
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bridge": "lo"}, "lo"),
        ({"bridge": "br-of-16-letters"}, "bridge"),
        ({"hairpinMode": True, "promiscMode": True}, "promisc"),
        ({"vlan": 5000}, "VLAN"),
        ({"vlan": 5}, "vlan"),
        ({"mtu": "1400"}, "mtu"),
        ({"mtu": -5}, "mtu"),
        ({"mtu": 70000}, "mtu"),
        ({"isGateway": "true"}, "isGateway"),
        ({"ipam": {"type": "host-local"}}, "no IP ranges specified"),
        ({"ipam": {"type": "host-local", "subnet": "10.1.0.0/31"}}, "too small"),
        ({"ipam": {"type": "host-local", "subnet": "10.1.0.7/24"}}, "host bits"),
        ({"ipam": {"type": "podwire"}}, "'podwire' is no IPAM plugin"),
        ({"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": "/a\0b"}}, "dataDir"),
        (
            {"runtimeConfig": {"portMappings": [{"hostPort": 99999, "containerPort": 80}]}},
            "Invalid host port number: 99999",
        ),
        ({"cniVersion": "0.2.0", "ipam": None}, "0.2.0"),
        ({"ipam": {"type": "nosuch"}}, 'failed to find plugin "nosuch"'),
        ({"ipam": {"type": "../x"}}, "invalid plugin name: ../x"),
        ({"args": {"cni": {"ips": ["10.50.0.1"]}}}, "gateway"),
        ({"args": {"cni": {"ips": ["10.51.0.1"]}}}, "failed to allocate all requested IPs"),
    ],
)
def test_bad_configuration(machine: Machine, change: dict[str, Any], word: str) -> None:
    pod, before = machine.pod("p"), machine.state()
    answer = machine.call("ADD", machine.config(**change), pod)
    assert answer.status == 1
    assert answer.code in (2, 7) or answer.code >= 100
    assert word in answer.document["msg"] + str(answer.document.get("details")), answer
    assert machine.state() == before
    # D04: the runtime calls DEL after a failed ADD.
    machine.delete(machine.config(**change), pod)
    assert machine.state() == before


def test_version(machine: Machine) -> None:
    for stdin, version in (
        (b"", "1.1.0"),
        (b"{garbage", "1.1.0"),
        (b'{"cniVersion":"0.4.0"}', "0.4.0"),
    ):
        answer = machine.call("VERSION", stdin, cid="", ifname="dummy")
        assert answer.document == {"cniVersion": version, "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_add_check_del(machine: Machine, version: str) -> None:
    """P11, A01, C01, D01."""
    config = machine.config(version, mtu=1400)
    pod = machine.pod("p")
    machine.ip("link")
    answer = machine.add(config, pod)
    result = answer.document

    assert result["cniVersion"] == version
    assert [i["name"] for i in result["interfaces"]][0::2] == ["br0", "eth0"]
    assert result["interfaces"][1]["name"].startswith("pw")
    assert [i.get("sandbox") for i in result["interfaces"]] == [None, None, pod]
    assert all(
        re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", i["mac"]) for i in result["interfaces"]
    )
    (ip,) = result["ips"]
    assert (ip["address"], ip["gateway"], ip["interface"]) == ("10.50.0.2/24", "10.50.0.1", 2)
    assert ip.get("version") == ("4" if version.startswith("0.") else None)
    assert ("mtu" in result["interfaces"][2]) == (version == "1.1.0")
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.50.0.1"}]
    assert result["dns"] == {}

    (eth0,) = json.loads(machine.in_pod(pod, "ip", "-j", "addr", "show", "dev", "eth0"))
    assert eth0["operstate"] == "UP"
    assert eth0["mtu"] == 1400
    assert eth0["address"] == result["interfaces"][2]["mac"]
    assert [a["local"] for a in eth0["addr_info"] if a["family"] == "inet"] == ["10.50.0.2"]
    (default,) = json.loads(machine.in_pod(pod, "ip", "-j", "route", "show", "default"))
    assert default["gateway"] == "10.50.0.1"
    machine.in_pod(pod, "busybox", "ping", "-c1", "-W2", "10.50.0.1")
    assert machine.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"

    if version not in ("0.3.0", "0.3.1"):
        checked = config | {"prevResult": result}
        assert machine.call("CHECK", checked, pod).status == 0
        machine.in_pod(pod, "ip", "addr", "add", "10.9.9.9/32", "dev", "eth0")
        machine.in_pod(pod, "ip", "route", "add", "10.8.0.0/16", "via", "10.50.0.1")
        assert machine.call("CHECK", checked, pod).status == 0
        # A chained plugin changed the MAC, and said so in prevResult.
        machine.in_pod(pod, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
        assert "MAC" in machine.call("CHECK", checked, pod).document["msg"]
        result["interfaces"][2]["mac"] = "02:00:00:00:00:99"
        assert machine.call("CHECK", checked, pod).status == 0

    machine.delete(config | {"prevResult": result}, pod)
    assert [link["ifname"] for link in machine.ip("link")] == ["lo", "br0"]
    assert machine.reserved() == []
    machine.delete(config)
    machine.delete(config)


@pytest.mark.parametrize("version", [None, "", "0.1.0", "0.2.0"])
def test_old_results(machine: Machine, version: str | None) -> None:
    """P11, I06: no version at all means 0.1.0; one address of each family, and what it needs."""
    ranges = [[{"subnet": "10.50.0.0/24"}], [{"subnet": "fd00:50::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/16", "gw": "fd00:50::7"}]
    config = machine.config(ipam=machine.ipam(ranges=ranges, routes=routes))
    config["cniVersion"] = version
    pod = machine.pod("p")
    assert machine.add(config, pod).document == {
        "cniVersion": version or "0.1.0",
        "ip4": {
            "ip": "10.50.0.2/24",
            "gateway": "10.50.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.50.0.1"}],
        },
        "ip6": {
            "ip": "fd00:50::2/64",
            "gateway": "fd00:50::1",
            "routes": [
                {"dst": "fd01::/16", "gw": "fd00:50::7"},
                {"dst": "::/0", "gw": "fd00:50::1"},
            ],
        },
        "dns": {},
    }
    machine.in_pod(pod, "busybox", "ping", "-c1", "-W2", "10.50.0.1")
    machine.delete(config, pod)
    assert machine.reserved() == []


# C01, C03: each thing that CHECK must miss.
@pytest.mark.parametrize(
    ("harm", "word"),
    [
        ("nsenter --net=/run/netns/p ip addr del 10.50.0.2/24 dev eth0", "Failed to match addr"),
        ("nsenter --net=/run/netns/p ip route del default", "Expected Route 0.0.0.0/0"),
        ("nsenter --net=/run/netns/p ip link set eth0 down", "is down"),
        ("ip link del $(ip -o link | grep -o 'pw[0-9a-f]*' | head -1)", "not found"),
        (
            "ip link set $(ip -o link | grep -o 'pw[0-9a-f]*' | head -1) nomaster",
            "not a port of br0",
        ),
        ("ip link del br0", "bridge br0 not found"),
        ("rm {data}/net/10.50.0.2", "Failed to find address added by container c1"),
        ("nft flush ruleset", "nft table inet podwire_masquerade_"),
    ],
)
def test_check_finds(machine: Machine, harm: str, word: str) -> None:
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    result = machine.add(config, pod).document
    checked = config | {"prevResult": result}
    assert machine.call("CHECK", checked, pod).status == 0
    machine.run("sh", "-c", harm.format(data=machine.data_dir))
    answer = machine.call("CHECK", checked, pod)
    assert word in answer.document["msg"] + answer.document.get("details", ""), answer


def test_check_needs_the_right_result(machine: Machine) -> None:
    """C03."""
    config, pod = machine.config(), machine.pod("p")
    result = machine.add(config, pod).document
    assert "prevResult missing" in machine.call("CHECK", config, pod).document["msg"]
    other = machine.pod("q")
    answer = machine.call("CHECK", config | {"prevResult": result}, other)
    assert "doesn't match configured netns" in answer.document["msg"]
    broken = config | {"prevResult": {"ips": [{"address": "nonsense"}]}}
    assert machine.call("CHECK", broken, pod).code == 7


def test_hostile_environment(machine: Machine) -> None:
    """P14: what a runtime may leave in the environment, and a working directory that is gone."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    garbage = {
        "PATH": "/nonexistent/shims",
        "PYTHONPATH": "/nonexistent",
        "PYTHONHOME": "/nonexistent",
        "VIRTUAL_ENV": "/nonexistent",
        "LD_LIBRARY_PATH": "/nonexistent",
    }
    # As it is installed: beside a Python. Runtimes find it by a link.
    installed = machine.directory / "bin" / "podwire-cni"
    installed.parent.mkdir()
    shutil.copy(PROGRAM, installed)
    python = installed.with_name("python3")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    link = machine.directory / "link"
    link.symlink_to(installed)
    enter = shutil.which("nsenter")
    assert enter
    for command in ("ADD", "DEL"):
        done = subprocess.run(
            [
                enter,
                *machine.inside(
                    "/usr/bin/env",
                    f"PATH={garbage['PATH']}",
                    "/bin/sh",
                    "-c",
                    'd=$(/bin/mktemp -d); cd "$d"; /bin/rmdir "$d"; exec "$0"',
                    str(link),
                )[1:],
            ],
            input=json.dumps(config).encode(),
            capture_output=True,
            check=False,
            env=garbage
            | {
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": "c1",
                "CNI_NETNS": pod,
                "CNI_IFNAME": "eth0",
                "CNI_PATH": "",
            },
        )
        assert done.returncode == 0, done
        assert bool(done.stdout) == (command == "ADD")
    assert machine.reserved() == []


def test_ways_to_name_a_namespace(machine: Machine, tmp_path: Path) -> None:
    """A02: as podman, containerd, ctr and buildah write them."""
    config, pod = machine.config(), machine.pod("p")
    script = f"exec 9<{pod}; echo; exec nsenter --net={pod} cat"
    holder = subprocess.Popen(
        machine.inside("sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.touch()
        machine.run("mount", "--bind", pod, str(elsewhere))
        # nsenter replaced itself, so these are of the process that is in the pod.
        process = f"/proc/{holder.pid}"
        names = [pod, str(elsewhere), f"{process}/ns/net", f"{process}/fd/9"]
        if Path("/var/run").is_symlink():
            names.append(f"/var{pod}")
        for name in names:
            result = machine.add(config, name).document
            assert result["interfaces"][2]["sandbox"] == name
            assert machine.call("CHECK", config | {"prevResult": result}, name).status == 0
            machine.delete(config, name)
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait(10)


@pytest.mark.parametrize(
    "path", ["/proc/self/ns/net", "/nonexistent", "/etc/hostname", "/proc/self/ns/mnt"]
)
def test_wrong_namespace(machine: Machine, path: str) -> None:
    """A04, and paths that are no network namespace."""
    before = machine.state()
    answer = machine.call("ADD", machine.config(), path)
    assert answer.code == 8
    assert machine.state() == before
    machine.delete(machine.config(), path)


def test_interface_exists_already(machine: Machine) -> None:
    """A03, D04: also a second ADD of the same pod fails, and harms nothing of the first."""
    config, pod = machine.config(ipMasq=True), machine.pod("p")
    result = machine.add(config, pod).document
    state = machine.state()
    answer = machine.call("ADD", config, pod)
    assert "already exists" in answer.document["msg"]
    assert machine.call("ADD", config, pod, cid="c2").code >= 100
    assert machine.state() == state
    assert machine.call("CHECK", config | {"prevResult": result}, pod).status == 0
    # The same container joins twice under another name.
    second = machine.add(config, pod, ifname="eth1", environ={}).document
    assert second["ips"][0]["address"] == "10.50.0.3/24"
    assert machine.call("CHECK", config | {"prevResult": result}, pod).status == 0


DELEGATES = {
    "good": (
        'case $CNI_COMMAND in ADD) echo \'{"cniVersion":"1.0.0","ips":[{"address":"10.50.0.77/24",'
        '"gateway":"10.50.0.1"}],"dns":{"nameservers":["10.0.0.53"]}}\';; esac',
        "",
    ),
    "refuses": (
        'case $CNI_COMMAND in ADD) echo \'{"cniVersion":"1.0.0","code":11,"msg":"busy"}\'; exit 1;; esac',
        "busy",
    ),
    "garbage": ("case $CNI_COMMAND in ADD) echo nonsense;; esac", "no JSON object"),
    "empty": (
        'case $CNI_COMMAND in ADD) echo \'{"cniVersion":"1.0.0"}\';; esac',
        "IPAM plugin returned missing IP config",
    ),
}


@pytest.mark.parametrize("name", DELEGATES)
def test_delegated_ipam(machine: Machine, name: str) -> None:
    """A08: the plugin of another is called as a runtime would, and told DEL after a failure."""
    script, message = DELEGATES[name]
    calls = machine.directory / "calls"
    plugin = machine.plugins / "other"
    plugin.write_text(
        f"#!/bin/sh\necho $CNI_COMMAND $CNI_CONTAINERID >>{calls}\ncat >/dev/null\n{script}\n"
    )
    plugin.chmod(0o755)
    config, pod = machine.config("1.1.0", ipam={"type": "other"}), machine.pod("p")
    before = machine.state()
    answer = machine.call("ADD", config, pod)
    if message:
        assert message in answer.document["msg"]
        assert machine.state() == before
        assert calls.read_text().split() == ["ADD", "c1", "DEL", "c1"]
    else:
        assert answer.address == "10.50.0.77/24"
        assert answer.document["dns"] == {"nameservers": ["10.0.0.53"]}
        assert machine.call("CHECK", config | {"prevResult": answer.document}, pod).status == 0
        assert machine.call("STATUS", config, cid="", ifname="").status == 0
        assert machine.call("GC", config, cid="", ifname="").status == 0
    machine.delete(config, pod)
    assert calls.read_text().split()[-2:] == ["DEL", "c1"]


def test_delegate_lookup(machine: Machine) -> None:
    """R01: as libcni looks; a file that cannot be run hides a good one behind it."""
    directories = [machine.directory / name for name in ("missing", "folder", "plain", "good")]
    (directories[1] / "other").mkdir(parents=True)
    for directory, mode in zip(directories[2:], (0o644, 0o755), strict=True):
        directory.mkdir()
        plugin = directory / "other"
        plugin.write_text(
            '#!/bin/sh\ncat >/dev/null\necho \'{"ips":[{"address":"10.50.0.9/24"}]}\'\n'
        )
        plugin.chmod(mode)
    config, pod = machine.config(ipam={"type": "other"}), machine.pod("p")
    path = ":".join(str(each) for each in directories)
    answer = machine.call("ADD", config, pod, environ={"CNI_PATH": path})
    assert "ermission denied" in answer.document["msg"]
    assert str(directories[2]) in answer.document["msg"]
    good = ":".join(str(each) for each in (directories[0], directories[1], directories[3]))
    assert machine.add(config, pod, environ={"CNI_PATH": good}).address == "10.50.0.9/24"


def test_what_runtimes_send_along(machine: Machine) -> None:
    """A10, A11, A12."""
    config, pod = machine.config("1.0.0"), machine.pod("p")
    config |= {
        "capabilities": {"portMappings": True, "bandwidth": True, "dns": True},
        "cni.dev/foo": 1,
        "strange": {"a": []},
        "args": None,
        "mtu": None,
        "dns": None,
        "runtimeConfig": {
            "bandwidth": {"IngressRate": 1000000, "IngressBurst": 4294967295},
            "dns": {"Servers": ["10.96.0.10"], "Searches": ["svc.cluster.local"], "Options": None},
            "io.kubernetes.cri.pod-annotations": {"foo": "bar"},
        },
    }
    for arguments in (
        "IgnoreUnknown=1;K8S_POD_NAME=p;FOO=bar",
        "FOO=bar;K8S_POD_NAME=p;IgnoreUnknown=true",
        "",
        "FOO=bar",
    ):
        answer = machine.add(config, pod, environ={"CNI_ARGS": arguments})
        assert answer.document["dns"] == {
            "nameservers": ["10.96.0.10"],
            "search": ["svc.cluster.local"],
        }
        assert "bandwidth" in answer.stderr
        machine.delete(config, pod)
    refused = machine.call("ADD", config, pod, environ={"CNI_ARGS": "FOO"})
    assert refused.code == 4
    asked = machine.add(config, pod, environ={"CNI_ARGS": "IP=10.50.0.99;MAC=02:00:00:00:00:01"})
    assert asked.address == "10.50.0.99/24"
    assert asked.document["interfaces"][2]["mac"] == "02:00:00:00:00:01"
