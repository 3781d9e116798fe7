"""Pure: the objects of kube-system that every cluster starts with: CoreDNS and kube-proxy.

Shaped as kubeadm makes them, as far as it matters here; both are pods like any other. Where they
are containers that somebody else starts, `descriptions` is all there is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podwire.emulator import coredns, own_images
from podwire.emulator.coredns import API_SOCKET

Json = dict[str, Any]

NAMESPACE = "kube-system"

# The components speak to the API server through its Unix socket, which only they get mounted.
_API_VOLUME: Json = {"name": "api", "hostPath": {"path": API_SOCKET, "type": "Socket"}}
_API_MOUNT: Json = {"name": "api", "mountPath": API_SOCKET}
_EVERYWHERE: list[Json] = [{"operator": "Exists"}]


# What a trace has to know of the network and no other object says: read by podwire.testing.target.
NETWORK = "podwire-network"

# kubeadm's names: the ConfigMap, its key, and where the DaemonSet mounts it.
PROXY, PROXY_FILE = "kube-proxy", "config.conf"
_PROXY_FOLDER = "/var/lib/kube-proxy"


def addons(
    network: Mapping[str, str], proxy_mode: str, images: Mapping[str, Sequence[str]]
) -> tuple[Json, ...]:
    """Return the objects, in the order in which they should be created.

    *network* has the keys domain, dns, pods, services, external and backend. *proxy_mode* is the
    mode of kube-proxy. *images* are those beside the catalogue's: name -> command.
    """
    return (
        *descriptions(network, proxy_mode),
        *((own_images.config_map(images),) if images else ()),
        _kube_proxy(network["services"]),
        coredns.account(),
        coredns.deployment(),
    )


def descriptions(
    network: Mapping[str, str], proxy_mode: str, corefile: str = ""
) -> tuple[Json, ...]:
    """Return what runs nothing: Service and Corefile of the DNS, kube-proxy's file, the network.

    *corefile* is kubeadm's, unless another is given.
    """
    return (
        coredns.service(network["dns"]),
        coredns.configuration(corefile or coredns.corefile(network["domain"])),
        _proxy_configuration(network["pods"], proxy_mode),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NETWORK, "namespace": NAMESPACE},
            "data": dict(network),
        },
    )


def _proxy_configuration(pods: str, mode: str) -> Json:
    # As kubeadm writes it, but with metrics on the node's address too, where a Prometheus finds it.
    text = f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clusterCIDR: {pods}
nodePortAddresses: null
metricsBindAddress: 0.0.0.0:10249
healthzBindAddress: 0.0.0.0:10256
ipvs:
  scheduler: ""
conntrack:
  tcpEstablishedTimeout: null
"""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": PROXY, "namespace": NAMESPACE, "labels": {"app": PROXY}},
        "data": {PROXY_FILE: text},
    }


def _kube_proxy(services: str) -> Json:
    labels = {"k8s-app": PROXY}
    container: Json = {
        "name": PROXY,
        "image": "registry.k8s.io/kube-proxy:v1.32.0",
        "args": [
            f"--config={_PROXY_FOLDER}/{PROXY_FILE}",
            "--hostname-override=$(NODE_NAME)",
            "--node-address=$(HOST_IP)",
            f"--service-cidr={services}",
            f"--api={API_SOCKET}",
        ],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        ],
        # Rules, routes and sockets with the addresses of others.
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
        "volumeMounts": [_API_MOUNT, {"name": PROXY, "mountPath": _PROXY_FOLDER}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": PROXY, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "priorityClassName": "system-node-critical",
                    "tolerations": _EVERYWHERE,
                    "terminationGracePeriodSeconds": 5,
                    "containers": [container],
                    "volumes": [_API_VOLUME, {"name": PROXY, "configMap": {"name": PROXY}}],
                },
            },
        },
    }
