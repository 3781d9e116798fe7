"""Every hop of a request is captured, and the verdict is right when the cluster is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from scapy.layers.vxlan import VXLAN
from scapy.utils import PcapNgReader

from tests.needs import need
from tests.system.docker.project import Project

Json = dict[str, Any]
URL = "http://web-svc"
CONFIRMED, REFUTED, INCONCLUSIVE = 0, 1, 2


def trace(project: Project, *words: str) -> tuple[int, Json]:
    """Trace from the host; returns the exit status and what `-o json` says."""
    done = project.engine.on_host(
        "env", f"KUBECONFIG={project.out / 'kubeconfig'}", sys.executable, "-P", "-m", "podwire",
        "trace", "-o", "json", *words,
    )  # fmt: skip
    assert done.stdout, f"{done.returncode}\n{done.stderr}\n{project.logs()}"
    return done.returncode, cast(Json, json.loads(done.stdout))


def test_the_session_of_the_documentation(project: Project) -> None:
    done = project.compose("exec", "-T", "api", "podwire", "trace", "client", URL)
    assert done.returncode == CONFIRMED, done.stdout + done.stderr
    assert "confirmed" in done.stdout.lower()
    written = list((project.out / "pcaps").glob("*.pcapng"))
    assert written
    assert all(path.stat().st_uid == project.out.stat().st_uid for path in written)


def test_without_the_profile_the_nodes_confirm(project: Project) -> None:
    status, judged = trace(project, "client", URL, "--no-pcap")
    assert status == CONFIRMED, json.dumps(judged, indent=1)


def test_a_wrong_target_port_is_refuted(mended: Project) -> None:
    patch = '[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 81}]'
    mended.kubectl_must("patch", "service", "web-svc", "--type=json", "-p", patch)
    try:
        mended.until(
            lambda: (
                mended.compose(
                    "exec", "-T", "client", "curl", "-s", "--max-time", "2", URL
                ).returncode
            ),
            lambda status: status != 0,
            "nothing answers on the wrong port",
        )
        status, judged = trace(mended, "client", URL, "--no-pcap", "--timeout", "4")
        assert status == REFUTED, json.dumps(judged, indent=1)
    finally:
        patch = '[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": "http"}]'
        mended.kubectl_must("patch", "service", "web-svc", "--type=json", "-p", patch)


def test_a_hung_coredns_is_refuted(mended: Project) -> None:
    mended.engine.docker("pause", mended.container("coredns"))
    status, judged = trace(mended, "client", URL, "--no-pcap", "--timeout", "4")
    assert status == REFUTED, json.dumps(judged, indent=1)


def test_a_service_without_ready_endpoints_is_refuted(mended: Project) -> None:
    for number in (1, 2):
        mended.engine.docker("pause", mended.container("web", number))
    mended.endpoints_become("web-svc", 0)
    status, judged = trace(mended, "client", URL, "--no-pcap", "--timeout", "4")
    assert status == REFUTED, json.dumps(judged, indent=1)
    assert judged["outcome"] == "refused", json.dumps(judged, indent=1)
    assert judged["reason"].startswith(
        "Service default/web-svc has no ready endpoints: its selector app=web matches 2 pods, none"
    )


def test_with_the_profile_every_hop_is_seen(capturing: Project, tmp_path: Path) -> None:
    pcap = tmp_path / "way.pcapng"
    status, judged = trace(capturing, "client", URL, "-w", str(pcap))
    assert status == CONFIRMED, json.dumps(judged, indent=1)
    text = json.dumps(judged)
    for place in ("default/client", "node-b", "node-a", "default/web-"):
        assert place in text
    with PcapNgReader(str(pcap)) as reader:
        packets = reader.read_all()
    devices = {str(packet.sniffed_on) for packet in packets}
    assert any("client" in name for name in devices), devices
    assert any("web-" in name for name in devices), devices
    assert any(VXLAN in packet for packet in packets)


def test_tshark_reads_the_same_packets(capturing: Project, tmp_path: Path) -> None:
    need("tshark")
    pcap = tmp_path / "way.pcapng"
    trace(capturing, "client", URL, "-w", str(pcap))
    read = subprocess.run(
        ["tshark", "-d", "udp.port==8472,vxlan", "-r", str(pcap), "-T", "fields", "-e", "frame.interface_name", "-e", "http.request.uri",
         "-e", "vxlan.vni"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "client" in read
    assert "/\t" in read
    assert "\t1" in read


def test_the_profile_can_only_read_packets(capturing: Project) -> None:
    (capture,) = [
        one
        for one in capturing.containers()
        if one["Config"]["Labels"]["com.docker.compose.service"] == "capture"
    ]
    host: Json = capture["HostConfig"]
    assert [str(name).removeprefix("CAP_") for name in host["CapAdd"]] == ["NET_RAW"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert not host["PidMode"]
    assert "docker.sock" not in json.dumps(capture["Mounts"])
