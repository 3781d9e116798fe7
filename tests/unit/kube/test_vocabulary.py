"""Names, times and the way between JSON and typed views."""

import random
import re

import msgspec
import pytest

from podwire.kube.clock import SystemClock, parse_rfc3339, rfc3339, rfc3339_micro
from podwire.kube.codec import convert, decode, encode, key_of, owned_by, reference_to, to_dict
from podwire.kube.names import ALPHABET, Key, random_suffix
from podwire.kube.objects import KINDS, ConfigMap, Deployment, EndpointSlice, Object, Pod, Service
from podwire.testing import build


def test_a_key_is_shown_as_kubectl_does() -> None:
    assert [str(Key("shop", "web")), str(Key("", "node-1"))] == ["shop/web", "node-1"]


def test_suffixes_have_no_vowels() -> None:
    suffixes = {random_suffix(random.Random(n)) for n in range(50)}
    assert len(suffixes) > 45
    assert all(re.fullmatch(f"[{ALPHABET}]{{5}}", suffix) for suffix in suffixes)
    assert not set(ALPHABET) & set("aeiou013")


@pytest.mark.parametrize(
    ("seconds", "text", "micro"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000.75, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.750000Z"),
    ],
)
def test_times(seconds: float, text: str, micro: str) -> None:
    assert (rfc3339(seconds), rfc3339_micro(seconds)) == (text, micro)
    assert parse_rfc3339(text) == int(seconds)
    assert parse_rfc3339(micro) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-01T01:00:00+01:00", 0), ("1970-01-01T00:00:01.5Z", 1.5)],
)
def test_other_ways_to_write_a_time(text: str, seconds: float) -> None:
    assert parse_rfc3339(text) == seconds


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        parse_rfc3339("yesterday")


def test_the_system_clock_goes_forward() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > 1_700_000_000


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.RESOURCE.kind)
def test_every_kind_reads_an_empty_object_and_writes_what_it_read(kind: type[Object]) -> None:
    obj = decode(kind, b'{"metadata": {"name": "x"}, "unknown": {"field": 1}}')
    written = to_dict(obj)
    assert written["apiVersion"] == kind.RESOURCE.api_version
    assert written["kind"] == kind.RESOURCE.kind
    assert decode(kind, encode(obj)) == obj
    assert convert(kind, written) == obj


@pytest.mark.parametrize(
    ("kind", "api_version", "prefix"),
    [
        (Pod, "v1", "/api/v1"),
        (Deployment, "apps/v1", "/apis/apps/v1"),
        (EndpointSlice, "discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1"),
    ],
)
def test_where_kinds_live(kind: type[Object], api_version: str, prefix: str) -> None:
    assert (kind.RESOURCE.api_version, kind.RESOURCE.prefix) == (api_version, prefix)


def test_defaults_are_not_written_but_what_the_api_demands_is() -> None:
    assert to_dict(ConfigMap()) == {"apiVersion": "v1", "kind": "ConfigMap"}
    assert to_dict(EndpointSlice())["addressType"] == "IPv4"


def test_go_names_with_capitals() -> None:
    service = decode(Service, b'{"spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}}')
    assert to_dict(service)["spec"] == {"clusterIP": "10.96.0.1", "clusterIPs": ("10.96.0.1",)}
    pod = decode(Pod, b'{"status": {"podIP": "10.244.1.2", "hostIP": "192.168.1.10"}}')
    assert (pod.status.pod_ip, pod.status.host_ip) == ("10.244.1.2", "192.168.1.10")


def test_null_lists_of_a_slice_are_read() -> None:
    assert decode(EndpointSlice, b'{"endpoints": null, "ports": null}').endpoints is None


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(Pod, b'{"spec": {"hostNetwork": "yes"}}')


def test_references() -> None:
    owner = build.replica_set("web-1")
    reference = owned_by(owner)
    assert (reference.kind, reference.api_version, reference.uid) == (
        "ReplicaSet", "apps/v1", owner.metadata.uid)  # fmt: skip
    assert reference.controller is reference.block_owner_deletion is True
    pod = build.pod("web", owner=owner)
    assert key_of(pod) == Key("default", "web")
    assert reference_to(pod).kind == "Pod"
