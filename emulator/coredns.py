"""Pure: the objects of CoreDNS: its Corefile, its Service, and what runs it.

As kubeadm lays them (cmd/kubeadm/app/phases/addons/dns/manifests.go), but for the way to the API
server, which is a Unix socket here.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

NAMESPACE: Final = "kube-system"
NAME, FILE = "coredns", "Corefile"
REPLICAS: Final = 2
API_SOCKET: Final = "/run/podwire/api.sock"
_FOLDER: Final = "/etc/coredns"
_LABELS: Final = {"k8s-app": "kube-dns"}


def corefile(domain: str, *, upstream: str = "/etc/resolv.conf", lameduck: int = 5) -> str:
    """Return kubeadm's Corefile; without *upstream* other names than the cluster's fail.

    *lameduck* in seconds.
    """
    forward = f"""\
    forward . {upstream} {{
       max_concurrent 1000
    }}
"""
    nowhere = "    # Without forward: pods have no way out of the cluster.\n"
    return f"""\
.:53 {{
    errors
    health {{
       lameduck {lameduck}s
    }}
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9153
{forward if upstream else nowhere}\
    cache 30 {{
       disable success {domain}
       disable denial {domain}
    }}
    loop
    reload
    loadbalance
}}
"""


def configuration(text: str) -> Json:
    """Return the ConfigMap that holds the Corefile *text*."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {FILE: text},
    }


def service(address: str) -> Json:
    """Return the Service with the ClusterIP *address*; the name is older than CoreDNS."""
    labels = {
        **_LABELS,
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
        },
        "spec": {
            "clusterIP": address,
            "selector": dict(_LABELS),
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        },
    }


def account() -> Json:
    """Return the ServiceAccount; its ClusterRole is among those that every API server has."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }


def deployment() -> Json:
    """Return the Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(_LABELS)},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": dict(_LABELS)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": dict(_LABELS)},
                "spec": {
                    "dnsPolicy": "Default",
                    "priorityClassName": "system-cluster-critical",
                    "serviceAccountName": NAME,
                    "affinity": {"podAntiAffinity": _apart()},
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
                    ],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [_container()],
                    "volumes": [
                        {"name": "api", "hostPath": {"path": API_SOCKET, "type": "Socket"}},
                        {
                            "name": "config-volume",
                            "configMap": {"name": NAME, "items": [{"key": FILE, "path": FILE}]},
                        },
                    ],
                },
            },
        },
    }


def _container() -> Json:
    return {
        "name": NAME,
        "image": "registry.k8s.io/coredns/coredns:v1.11.3",
        "args": ["-conf", f"{_FOLDER}/{FILE}", f"--api={API_SOCKET}"],
        "resources": {
            "limits": {"memory": "170Mi"},
            "requests": {"cpu": "100m", "memory": "70Mi"},
        },
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
            {"name": "liveness-probe", "containerPort": 8080, "protocol": "TCP"},
            {"name": "readiness-probe", "containerPort": 8181, "protocol": "TCP"},
        ],
        # Oftener than kubeadm's ten seconds: a replica that ends says so at once, and must be seen
        # to within its lame duck. Till then the kernel modes of kube-proxy keep UDP flows to it,
        # and a client that takes the port of such a flow again would ask nobody.
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "readiness-probe", "scheme": "HTTP"},
            "periodSeconds": 1,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "liveness-probe", "scheme": "HTTP"},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 5,
        },
        "securityContext": {
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "api", "mountPath": API_SOCKET},
            {"name": "config-volume", "mountPath": _FOLDER, "readOnly": True},
        ],
    }


def _apart() -> Json:
    """Return the wish for nodes that have no CoreDNS yet."""
    alike = {"matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}]}
    term = {"labelSelector": alike, "topologyKey": "kubernetes.io/hostname"}
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": term}
        ]
    }
