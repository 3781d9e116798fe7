"""What is followed: what DNS does not read is not kept, and what it reads is."""

import json
from typing import Any

import msgspec
import pytest

from podwire.dns.cluster.watched import ServiceImport, WatchedPod, WatchedService, WatchedSlice
from podwire.kube.codec import decode
from podwire.kube.objects import Object

Json = dict[str, Any]

METADATA: Json = {
    "name": "web",
    "namespace": "shop",
    "resourceVersion": "7",
    "labels": {"app": "web"},
    "deletionTimestamp": "2026-01-02T03:04:05Z",
}
LONG: Json = {
    "uid": "0000-1111",
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}],
}


@pytest.mark.parametrize(
    ("kind", "read", "unread"),
    [
        (
            WatchedService,
            {
                "spec": {
                    "type": "LoadBalancer",
                    "clusterIP": "10.96.0.7",
                    "clusterIPs": ["10.96.0.7"],
                    "externalIPs": ["192.0.2.7"],
                    "externalName": "www.example.com",
                    "ports": [{"port": 80, "name": "http", "protocol": "UDP"}],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}},
            },
            {"spec": {"selector": {"app": "web"}, "sessionAffinity": "None"}},
        ),
        (
            WatchedSlice,
            {
                "endpoints": [
                    {
                        "addresses": ["10.244.1.5"],
                        "conditions": {"ready": False},
                        "hostname": "web-0",
                        "targetRef": {"name": "web-0"},
                        "zone": "a",
                    }
                ],
                "ports": [{"port": 8080, "name": "http", "protocol": "UDP"}],
            },
            {"addressType": "IPv4"},
        ),
        (
            WatchedPod,
            {"status": {"phase": "Running", "podIP": "10.244.1.5"}},
            {"spec": {"containers": [{"name": "web"}]}},
        ),
        (
            ServiceImport,
            {"spec": {"type": "Headless", "ips": ["10.0.0.1"], "ports": [{"port": 80}]}},
            {"spec": {"sessionAffinity": "None"}},
        ),
    ],
)
def test_views(kind: type[Object], read: Json, unread: Json) -> None:
    # An annotation of slices says when they were changed.
    kept_too = ("annotations",) if kind is WatchedSlice else ()
    short = {"metadata": {**METADATA, **{key: LONG[key] for key in kept_too}}, **read}
    long = {"metadata": {**METADATA, **LONG}, **_merged(read, unread)}
    kept = decode(kind, json.dumps(long).encode())
    assert kept == decode(kind, json.dumps(short).encode())
    assert json.loads(msgspec.json.encode(kept)) == short


def test_lists_may_be_null() -> None:
    body = b'{"metadata": {"name": "web"}, "endpoints": null, "ports": null}'
    assert decode(WatchedSlice, body).endpoints is None


def _merged(one: Json, other: Json) -> Json:
    return one | {
        key: {**one.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in other.items()
    }
