"""`docker compose up`: what the cluster is, and the session of docs/docker.md line by line."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.docker.image import ROOT
from tests.system.docker.project import SOMEBODY, Project

Json = dict[str, Any]
PODS = ("coredns", "web", "client", "stock", "front", "duo", "duo-web")
ENGINE_SOCKET = "/var/run/docker.sock"


def test_the_first_curl_after_up_goes_by_name_through_the_cluster_ip_to_another_node(
    project: Project,
) -> None:
    (answer,) = project.curl("http://web-svc")
    served = re.search(r"Address: (\S+)", answer)
    assert served
    assert served[1] in {project.address("web", 1), project.address("web", 2)}
    assert project.address("client").startswith(f"{project.pods}.2.")
    assert served[1].startswith(f"{project.pods}.1.")


def test_the_node_port_answers_on_the_host(project: Project) -> None:
    done = project.engine.on_host("curl", "-sS", "--fail", f"http://127.0.0.1:{project.node_port}/")
    assert done.returncode == 0, done.stderr
    assert "Hostname:" in done.stdout


def test_the_endpoints_follow_the_scale_and_each_is_reached(project: Project) -> None:
    project.must("up", "-d", "--no-deps", "--scale", "web=5", "web")
    addresses = project.endpoints_become("web-svc", 5)
    assert addresses == {project.address("web", number) for number in range(1, 6)}
    seen = set(re.findall(r"Address: (\S+)", "".join(project.curl("http://web-svc", tries=60))))
    assert seen == addresses
    project.must("up", "-d", "--no-deps", "--scale", "web=2", "web")
    project.endpoints_become("web-svc", 2)
    assert len(project.curl("http://web-svc", tries=20)) == 20


def test_a_headless_service_is_the_address_of_every_replica(project: Project) -> None:
    (answer,) = project.curl("http://front.shop")
    assert set(re.findall(r"(\S+) has 7 teapots", answer)) == {
        project.address("stock", 1),
        project.address("stock", 2),
    }


def test_the_containers_of_a_pod_share_its_address_and_its_loopback(project: Project) -> None:
    (through_the_service,) = project.curl("http://duo")
    assert f"Address: {project.address('duo')}" in through_the_service
    assert "Address: 127.0.0.1" in project.curl("http://127.0.0.1:8080", service="duo")[0]
    statuses = project.get("pod", "duo")["status"]["containerStatuses"]
    assert [one["name"] for one in statuses] == ["web"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("web-svc.default.svc.cluster.local", 0),
        ("kubernetes", 0),
        ("stock.shop", 0),
        # Names of Compose are not names of the cluster.
        ("web", 2),
        ("node-b", 2),
        ("api", 2),
        ("example.org", 2),
    ],
)
def test_pods_know_the_names_of_the_cluster_and_no_others(
    project: Project, name: str, status: int
) -> None:
    done = project.compose("exec", "-T", "client", "getent", "ahostsv4", name)
    assert done.returncode == status, done.stdout + done.stderr


def test_nothing_leaves_the_cluster(project: Project) -> None:
    done = project.compose(
        "exec", "-T", "client", "curl", "-sS", "--max-time", "3", "http://192.0.2.1/"
    )
    assert done.returncode == 7, done.stderr  # refused at once by the node, not 28: timed out


def test_kubectl_sees_the_containers(project: Project) -> None:
    shown = project.kubectl_must("get", "pods,svc,endpointslices", "-o", "wide")
    for name in (
        "pod/web-1",
        "pod/web-2",
        "pod/client",
        "pod/duo",
        "service/web-svc",
        "web-nodeport",
    ):
        assert name in shown
    nodes = {one["metadata"]["name"]: one for one in project.get("nodes")["items"]}
    assert set(nodes) == {"node-a", "node-b"}
    assert nodes["node-b"]["spec"]["podCIDR"] == f"{project.pods}.2.0/24"
    pod = project.get("pod", "web-2")
    assert pod["spec"]["nodeName"] == "node-a"
    assert pod["status"]["podIP"] == project.address("web", 2)
    assert pod["metadata"]["labels"]["app"] == "web"
    assert pod["spec"]["containers"][0]["ports"][0]["name"] == "http"
    system = project.kubectl_must("get", "pods", "-n", "kube-system", "-o", "name").split()
    assert {"pod/kube-proxy-node-a", "pod/kube-proxy-node-b"} <= set(system)
    assert any(name.startswith("pod/coredns-") for name in system)


def test_the_kubeconfig_belongs_to_the_folders_owner_alone(project: Project) -> None:
    config, folder = project.out / "kubeconfig", project.out.stat()
    assert config.stat().st_mode & 0o777 == 0o600
    assert (config.stat().st_uid, config.stat().st_gid) == (folder.st_uid, folder.st_gid)
    if project.engine.is_own:
        assert folder.st_uid == SOMEBODY
    assert (
        yaml.safe_load(config.read_text(encoding="utf-8"))["current-context"]
        == f"podwire-{project.name}"
    )


def test_pods_have_no_capability_and_only_api_holds_the_engines_socket(project: Project) -> None:
    holders: set[str] = set()
    added: dict[str, set[str]] = {}
    for one in project.containers():
        service = str(one["Config"]["Labels"]["com.docker.compose.service"])
        host: Json = one["HostConfig"]
        assert not host["Privileged"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert not host["PidMode"]
        assert host["NetworkMode"] != "host"
        names: list[str] = host["CapAdd"] or []
        added[service] = {name.removeprefix("CAP_") for name in names}
        if any(
            ENGINE_SOCKET in str(mount) or "docker.sock" in str(mount) for mount in one["Mounts"]
        ):
            holders.add(service)
    assert holders == {"api"}
    assert {service for service in added if not added[service]} == set(PODS)
    assert added["node-a"] == added["node-b"] == {"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"}
    assert added["api"] == {"CHOWN", "DAC_OVERRIDE"}


@pytest.mark.parametrize("service", PODS)
def test_the_kernel_says_that_a_pod_has_no_capability(project: Project, service: str) -> None:
    status = project.exec(service, "cat", "/proc/1/status")
    found = dict(re.findall(r"(Cap\w+|NoNewPrivs):\s*(\w+)", status))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == 0, status
    assert found["NoNewPrivs"] == "1"
    # The twin: the same look at a node finds some.
    assert "CapEff:\t0000000000000000" not in project.exec("node-a", "cat", "/proc/1/status")


def test_the_files_of_the_session_are_those_of_the_repository() -> None:
    for name in ("docker-compose.yml", "Dockerfile", "compose/resolv/default.conf"):
        assert Path(ROOT, name).is_file()
