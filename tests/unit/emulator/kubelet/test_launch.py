"""What of the node leads to a pod, and as whom a container runs."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.images.catalogue import Image
from podwire.emulator.kubelet.launch import ports_of, user_of
from podwire.emulator.runtimes.runtime import PodPort
from podwire.kube.objects import Container, Pod, PodSpec


@pytest.mark.parametrize(
    ("image", "pod", "container", "user"),
    [
        ("", {}, {}, ""),
        ("www:www", {}, {}, "www:www"),
        ("www", {"runAsUser": 1000}, {}, "1000"),
        ("www", {"runAsUser": 1000}, {"runAsUser": 2000}, "2000"),
        ("www", {"runAsUser": 1000, "runAsGroup": 3000}, {"runAsUser": 0}, "0:3000"),
        ("www:www", {"runAsGroup": 3000}, {}, "www:3000"),
        ("", {"runAsGroup": 3000}, {}, "0:3000"),
    ],
)
def test_the_container_before_the_pod_before_the_image(
    image: str, pod: dict[str, Any], container: dict[str, Any], user: str
) -> None:
    made = msgspec.convert({"name": "c", "securityContext": container}, Container)
    owner = msgspec.convert({"metadata": {"name": "p"}, "spec": {"securityContext": pod}}, Pod)
    assert user_of(owner, made, Image("i", "", user=image)) == user


WEB: dict[str, Any] = {"containerPort": 80, "hostPort": 8080}
DNS: dict[str, Any] = {
    "containerPort": 1053,
    "hostPort": 53,
    "protocol": "UDP",
    "hostIP": "192.168.1.10",
}


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        ({"containers": [{"ports": [WEB, DNS]}]}, [(8080, 80), (53, 1053)]),
        ({"containers": [{"ports": [WEB]}, {"ports": [WEB, {"containerPort": 1}]}]}, [(8080, 80)]),
        ({"containers": [dict[str, Any]()], "initContainers": [{"ports": [WEB]}]}, []),
        (
            {
                "containers": [dict[str, Any]()],
                "initContainers": [{"ports": [WEB], "restartPolicy": "Always"}],
            },
            [(8080, 80)],
        ),
        ({"hostNetwork": True, "containers": [{"ports": [WEB]}]}, []),
    ],
)
def test_ports_of_the_node(spec: dict[str, Any], ports: list[tuple[int, int]]) -> None:
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        container["name"] = "c"
    found = ports_of(msgspec.convert(spec, PodSpec))
    assert [(port.host_port, port.container_port) for port in found] == ports


def test_a_port_of_one_address() -> None:
    spec = {"containers": [{"name": "c", "ports": [DNS]}]}
    found = ports_of(msgspec.convert(spec, PodSpec))
    assert found == (PodPort("UDP", 53, 1053, "192.168.1.10"),)
