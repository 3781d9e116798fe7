"""The Node object by which a machine is known to the cluster."""

import os
import platform
from collections.abc import Callable, Mapping

from podwire import __version__

KUBELET_VERSION = "v1.32.0"


def node_object(
    name: str,
    address: str,
    pod_cidr: str,
    labels: Mapping[str, str],
    now: Callable[[], str],
    *,
    runtime: str = f"podwire://{__version__}",
) -> dict[str, object]:
    """Return the Node that describes this machine as one node of the cluster.

    *runtime* is what runs its containers: docker://26.1.5.
    """
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    resources = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": "250"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "podwire's kubelet is posting ready status",
        "lastHeartbeatTime": now(),
        "lastTransitionTime": now(),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": machine,
                **labels,
            },
        },
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [ready],
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": KUBELET_VERSION,
                "containerRuntimeVersion": runtime,
                "kernelVersion": platform.release(),
                "osImage": os_image(),
                "operatingSystem": "linux",
                "architecture": machine,
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        },
    }


def os_image() -> str:
    """Return what this machine calls its operating system."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
