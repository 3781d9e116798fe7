"""The vector files' clusters as Kubernetes objects, and DNS data as the vectors write it."""

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import pytest
import uvloop

from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.watched import (
    IMPORTED_SERVICE_LABEL,
    SOURCE_CLUSTER_LABEL,
    ServiceImport,
    WatchedPod,
    WatchedService,
    WatchedSlice,
)
from podwire.dns.messages.message import Record, Reply, Soa, kind_name, rcode_name
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from podwire.kube.selectors import parse_labels
from tests.unit.dns.zone_text import data_text

Json = dict[str, Any]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the server's tests on the plain loop, and on the one that the program uses."""
    del config
    plain: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    if item.path.stem not in ("test_connections", "test_forward", "test_server", "test_upstream"):
        return plain
    return {**plain, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def table_of() -> Callable[[Json, Json], Table]:
    """Return what makes the table of a fixture's cluster under a configuration."""
    return table


@pytest.fixture(scope="session")
def options_of() -> Callable[[Json], Options]:
    """Return what makes the kubernetes stanza of a configuration."""
    return options


@pytest.fixture(scope="session")
def shown_of() -> Callable[[tuple[Record, ...]], list[str]]:
    """Return what shows records as sorted lines."""
    return shown


@pytest.fixture(scope="session")
def wanted_of() -> Callable[[list[Json]], list[str]]:
    """Return what shows a vector's records as `shown_of` does."""
    return wanted


@pytest.fixture(scope="session")
def summary_of() -> Callable[[Reply | None], Json]:
    """Return what tells of a reply what a vector tells."""
    return summary


@pytest.fixture(scope="session")
def expected_of() -> Callable[[Json], Json]:
    """Return what tells of a vector what `summary_of` gives if the reply is right."""
    return expected


def service(entry: Json) -> WatchedService:
    fields = ("type", "clusterIPs", "externalName", "externalIPs", "ports")
    spec = {k: v for k, v in entry.items() if k in fields}
    ingress = [{"ip": address} for address in entry.get("loadBalancerIngress", ())]
    status = {"loadBalancer": {"ingress": ingress}}
    return convert(WatchedService, {"metadata": _metadata(entry), "spec": spec, "status": status})


def service_import(entry: Json) -> ServiceImport:
    spec = {k: v for k, v in entry.items() if k in ("type", "ips", "ports")}
    return convert(ServiceImport, {"metadata": _metadata(entry), "spec": spec})


def slice_(entry: Json) -> WatchedSlice:
    metadata = _metadata(entry)
    if entry.get("service"):
        metadata["labels"]["kubernetes.io/service-name"] = entry["service"]
    if entry.get("multiclusterService"):
        metadata["labels"][IMPORTED_SERVICE_LABEL] = entry["multiclusterService"]
        metadata["labels"][SOURCE_CLUSTER_LABEL] = entry["sourceCluster"]
    endpoints = [
        {
            "addresses": e["addresses"],
            "conditions": {"ready": e["ready"]} if "ready" in e else {},
            "hostname": e.get("hostname"),
            "targetRef": {"kind": "Pod", "name": e["targetPod"]} if e.get("targetPod") else None,
            "zone": e.get("zone"),
        }
        for e in entry["endpoints"]
    ]
    return convert(
        WatchedSlice, {"metadata": metadata, "endpoints": endpoints, "ports": entry["ports"]}
    )


def pod(entry: Json) -> WatchedPod:
    metadata = _metadata(entry)
    if entry.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    status = {"podIP": entry.get("ip", ""), "phase": entry.get("phase", "")}
    return convert(WatchedPod, {"metadata": metadata, "status": status})


def table(fixture: Json, config: Json) -> Table:
    """Return the table that a server with *config* has of a fixture's cluster."""
    made = Table()
    wanted = parse_labels(config.get("labels", ""))
    namespaces = parse_labels(config.get("namespace_labels", ""))
    for entry in fixture["namespaces"]:
        if namespaces.matches(entry.get("labels", {})):
            made.change_namespace(None, convert(Namespace, {"metadata": _metadata(entry)}))
    for entry in fixture["services"]:
        if wanted.matches(entry.get("labels", {})):
            made.change_service(None, service(entry), now=1)
    for entry in fixture["endpointSlices"]:
        if wanted.matches(entry.get("labels", {})):
            made.change_slice(None, slice_(entry), now=2)
            made.change_imported_slice(None, slice_(entry), now=2)
    for entry in fixture["serviceImports"]:
        if namespaces.matches(entry.get("labels", {})):
            made.change_import(None, service_import(entry), now=2)
    for entry in fixture["pods"]:
        if wanted.matches(entry.get("labels", {})):
            made.change_pod(None, pod(entry), now=3)
    if not config.get("not_synced"):
        made.synced()
    return made


def options(config: Json) -> Options:
    fallthrough = config.get("fallthrough")
    return Options(
        zones=tuple(config["zones"]),
        pods=config.get("pods", "disabled"),
        ttl=config.get("ttl", 5),
        namespaces=frozenset(config.get("namespaces", ())),
        fallthrough=None if fallthrough is None else tuple(fallthrough),
        own_addresses=tuple(ip_address(a) for a in config.get("local_ips", ())),
        endpoint_pod_names=config.get("endpoint_pod_names", False),
        no_endpoints=config.get("noendpoints", False),
        ignore_empty_service=config.get("ignore_empty_service", False),
        zonal=config.get("zonal", False),
        multicluster=tuple(config.get("multicluster", ())),
    )


def shown(records: tuple[Record, ...]) -> list[str]:
    """Return records as sorted zone-file lines; the serial of an SOA is a star."""
    return sorted(_line(r.name, r.ttl, kind_name(r.kind), _data(r)) for r in records)


def wanted(records: list[Json]) -> list[str]:
    """Return a vector's records as `shown` shows them."""
    return sorted(_line(r["name"], r["ttl"], r["type"], r["data"]) for r in records)


def summary(reply: Reply | None) -> Json:
    """Return what a vector says of a reply."""
    if reply is None:
        return {"result": "next"}
    return {
        "rcode": rcode_name(reply.rcode),
        "aa": reply.authoritative,
        "tc": reply.truncated,
        "answer": shown(reply.answer),
        "authority": shown(reply.authority),
        "additional": shown(reply.additional),
    }


def expected(case: Json) -> Json:
    """Return what `summary` gives if the reply is right."""
    if "result" in case:
        return {"result": case["result"]}
    sections = {s: wanted(case[s]) for s in ("answer", "authority", "additional")}
    return {"rcode": case["rcode"], "aa": case["aa"], "tc": case["tc"], **sections}


def _data(record: Record) -> str:
    if not isinstance(record.data, Soa):
        return data_text(record.data)
    words = data_text(record.data).split(" ")
    return " ".join([*words[:2], "*", *words[3:]])


def _line(name: str, ttl: int, kind: str, data: str) -> str:
    return f"{name} {ttl} {kind} {data}"


def _metadata(entry: Json) -> Json:
    return {
        "name": entry["name"],
        "namespace": entry.get("namespace", ""),
        "labels": dict(entry.get("labels", {})),
    }
