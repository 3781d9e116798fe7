"""The capture agent and the judge on real packets: namespaces, VXLAN, a relay, DNS, backends.

Each refuted request has a confirmed twin: the same world without the damage.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.needs import lack, need

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
DNS_UP = {"kube-system/kube-dns": ["kube-system/coredns"]}
WEB_1 = {"default/web-svc": ["default/web-1"], **DNS_UP}
WEB_0 = {"default/web-svc": ["default/web-0"], **DNS_UP}
TO_ADDRESS = "http://10.96.14.7"

World = Callable[..., dict[str, Any]]


@pytest.fixture
def world() -> World:
    need("unshare", "ip", "bridge", "curl", "getent")
    enter = ["unshare", "-Urnmp", "--fork", "--kill-child"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        lack("user namespaces are not allowed here")

    def run(request: str | list[str] = "http://web-svc", **scenario: Any) -> dict[str, Any]:
        words = [request] if isinstance(request, str) else request
        scenario = {"request": words, "backends": WEB_1, **scenario}
        program = [sys.executable, str(HERE / "capture_world.py"), json.dumps(scenario)]
        done = subprocess.run(
            [*enter, *program], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run


@pytest.mark.parametrize(
    ("scenario", "backend", "hops"),
    [
        ({}, "default/web-1", 17),
        ({"backends": WEB_0}, "default/web-0", 16),
        ({"no_curl": True}, "default/web-1", 17),
        ({"request": "web-svc:80"}, "default/web-1", 16),
        ({"request": "http://web-svc.default"}, "default/web-1", 19),
        ({"request": "http://10.244.2.6"}, "default/web-1", 7),
        ({"request": "http://10.244.1.6"}, "default/web-0", 6),
        ({"request": TO_ADDRESS}, "default/web-1", 9),
        ({"request": TO_ADDRESS, "source": "node-1"}, "default/web-1", 8),
        ({"request": ["curl", "-s", "http://web-svc"]}, "default/web-1", 17),
        ({"request": ["getent", "hosts", "web-svc"]}, "kube-system/coredns", 8),
    ],
)
def test_confirmed(world: World, scenario: dict[str, Any], backend: str, hops: int) -> None:
    result = world(**scenario)
    trace = result["trace"]
    assert trace["verdict"] == "confirmed", result["table"]
    assert trace["outcome"] == "answered"
    assert backend in [hop["where"] for hop in trace["hops"]]
    assert len(trace["hops"]) == hops, result["table"]
    assert trace["dropped"] == 0


@pytest.mark.parametrize(
    ("scenario", "outcome", "wrong", "reason"),
    [
        pytest.param(
            {"backends": {**WEB_1, "default/web-svc": []}, "selector": {"app": "wbe"}},
            "refused",
            "node-1 cni0",
            "Service default/web-svc has no ready endpoints: its selector app=wbe matches no pod",
            id="selector that matches nothing",
        ),
        pytest.param(
            {"target_port": 8080},
            "refused",
            "default/web-1 eth0",
            "answered RST: nothing listens on port 8080 in default/web-1",
            id="wrong targetPort",
        ),
        pytest.param(
            {"target_port": 8080, "request": "web-svc:80"},
            "refused",
            "default/web-1 eth0",
            "answered RST: nothing listens on port 8080 in default/web-1",
            id="wrong targetPort, mere connect",
        ),
        pytest.param(
            {"damage": ["ip -n default-web-1 link set eth0 down"]},
            "unreachable",
            "default/web-1 eth0",
            "nobody answers ARP for 10.244.2.6 on node-2 cni0",
            id="unreachable backend on another node",
        ),
        pytest.param(
            {"damage": ["ip -n default-web-0 link set eth0 down"], "backends": WEB_0},
            "unreachable",
            "node-1 cni0",
            "default/web-0 is unreachable: nobody answers ARP for 10.244.1.6",
            id="unreachable backend on the same node",
        ),
        pytest.param(
            {"damage": ["ip -n node-2 link set eth0 down"], "request": TO_ADDRESS},
            "unreachable",
            "node-1 eth0",
            "reached node-1 flannel.1 but never left by eth0 inside VXLAN",
            id="unreachable node",
        ),
        pytest.param(
            {"backends": {**WEB_1, "kube-system/kube-dns": []}},
            "refused",
            "node-1 cni0",
            "cluster DNS: Service kube-system/kube-dns has no ready endpoints",
            id="CoreDNS down, known",
        ),
        pytest.param(
            {"silent": ["kube-system/coredns"]},
            "refused",
            "kube-system/coredns eth0",
            "cluster DNS: kube-system/coredns eth0 got it and answered ICMP port unreachable",
            id="CoreDNS down, not known yet",
        ),
        pytest.param(
            {"silent": ["node-1"]},
            "refused",
            "node-1 cni0",
            "is kube-proxy running on node-1?",
            id="kube-proxy down",
        ),
        pytest.param(
            {"request": "http://shop"},
            "no such name",
            "default/client eth0",
            "there is no Service shop in namespace default",
            id="name that does not exist",
        ),
        pytest.param(
            {"request": "http://web-svc:8080"},
            "refused",
            "node-1 cni0",
            "Service default/web-svc has no port 8080/TCP; it has 80/TCP",
            id="port that the Service lacks",
        ),
        pytest.param(
            {"request": "web-svc:80/udp"},
            "refused",
            "node-1 cni0",
            "Service default/web-svc has no port 80/UDP; it has 80/TCP",
            id="protocol that the Service lacks",
        ),
        pytest.param(
            {"relays": WEB_0},
            "answered",
            "node-1 None",
            "pod default/web-0 (10.244.1.6) port 80, which is no ready endpoint",
            id="relay to what is no endpoint",
        ),
        pytest.param(
            {"records": {"default/web-svc": "10.96.0.99"}},
            "answered",
            "default/client eth0",
            "cluster DNS answered A 10.96.0.99 for web-svc.default.svc.cluster.local.",
            id="wrong DNS answer",
        ),
        pytest.param(
            {"web": "hang", "timeout": 1.0},
            "timed out",
            "default/web-1 eth0",
            "default/web-1 got the request and did not answer in time",
            id="application that hangs",
        ),
        pytest.param(
            {"web": "close"},
            "refused",
            "default/web-1 eth0",
            "default/web-1 closed the connection without an answer",
            id="application that hangs up",
        ),
    ],
)
def test_refuted(
    world: World, scenario: dict[str, Any], outcome: str, wrong: str, reason: str
) -> None:
    result = world(**scenario)
    trace = result["trace"]
    assert trace["verdict"] == "refuted", result["table"]
    assert reason in trace["reason"], result["table"]
    hop = trace["first_wrong_hop"]
    assert f"{hop['where']} {hop['interface']}" == wrong, result["table"]
    assert trace["outcome"] == outcome, result["table"]
    assert "<-- first wrong hop" in result["table"]


def test_application_error_is_confirmed_with_its_status(world: World) -> None:
    trace = world(web="503")["trace"]
    assert (trace["verdict"], trace["status"]) == ("confirmed", 503)
    assert trace["reason"] == "the application answered 503: the network did its part"


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ({"not_captured": ["default/client"]}, "nothing was captured at default/client"),
        (
            {"not_captured": ["default/web-1"]},
            "answered, but nothing was captured at default/web-1",
        ),
        ({"filter": "udp port 9"}, "default/client sent nothing at all"),
        ({"filter": "udp"}, "default/client sent nothing to web-svc:80/TCP"),
    ],
)
def test_inconclusive(world: World, scenario: dict[str, Any], reason: str) -> None:
    trace = world(**scenario)["trace"]
    assert (trace["verdict"], trace["reason"]) == ("inconclusive", reason)


def test_file_opens_in_tshark_with_interface_names_and_comments(
    world: World, tmp_path: Path
) -> None:
    need("tshark")
    file = tmp_path / "web-svc.pcapng"
    result = world(pcap=str(file))
    assert result["trace"]["pcap"] == str(file)
    fields = ["frame.interface_name", "frame.comment", "tcp.payload"]
    command = ["tshark", "-r", str(file), "-d", "udp.port==8472,vxlan", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == result["trace"]["packets"]
    assert {"default/client eth0", "node-1 cni0", "node-2 eth0", "default/web-1 eth0"} <= {
        row[0] for row in rows
    }
    hop = "hop 9: default/client eth0; pod default/client > Service default/web-svc; "
    assert any(row[1].startswith(hop) for row in rows), rows
    rule = "userspace proxy on node-1: 10.96.14.7:80 -> 10.244.2.6:80"
    assert any(row[0] == "default/web-1 eth0" and rule in row[1] for row in rows)
    names = subprocess.run(
        ["capinfos", "-c", str(file)], capture_output=True, text=True, check=True
    )
    assert str(result["trace"]["packets"]) in names.stdout


@pytest.mark.parametrize("name", ["/dev/full", "no/such/folder/x.pcapng"])
def test_file_that_cannot_be_written(world: World, name: str) -> None:
    with pytest.raises(AssertionError, match="cannot write the capture"):
        world(pcap=name)
    assert Path("/dev/full").exists()
