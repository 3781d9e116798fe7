"""The environment of the service api, and what its container tells of itself."""

from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.compose.settings import Settings, from_environ
from podwire.emulator.compose.surroundings import read
from podwire.errors import ConfigError, MachineError

PODS = Path("/run/podwire-pods")


def test_an_empty_environment_is_the_default_cluster() -> None:
    assert from_environ({}) == Settings()
    assert from_environ({"PODWIRE_API_PORT": "", "PODWIRE_CLUSTER": ""}) == Settings()


def test_addresses_follow_from_the_range_of_services() -> None:
    settings = from_environ({"PODWIRE_SERVICE_SUBNET": "10.8.0.0/24"})
    assert (str(settings.api_service), str(settings.dns_service)) == ("10.8.0.1", "10.8.0.10")


def test_each_socket_is_on_a_volume_of_those_that_may_use_it() -> None:
    settings = from_environ(
        {"PODWIRE_RUN": "/r", "PODWIRE_CAPTURES": "/c", "PODWIRE_READERS": "/d"}
    )
    assert settings.node_socket("node-a") == Path("/r/nodes/node-a.sock")
    assert settings.api_socket == Path("/r/api.sock")
    assert settings.captures_socket == Path("/c/captures.sock")
    assert settings.dns_socket == Path("/d/api.sock")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PODWIRE_API_PORT", "https", "not a port"),
        ("PODWIRE_API_PORT", "65536", "not a port"),
        ("PODWIRE_API_PORT", "0", "not a port"),
        ("PODWIRE_ADDRESS", "10.201.0", "Expected 4 octets"),
        ("PODWIRE_PODS_SUBNET", "10.244.1.0/16", "has host bits set"),
        ("PODWIRE_SERVICE_SUBNET", "10.96.0.0/30", "too small"),
        ("PODWIRE_SERVICE_SUBNET", "10.244.0.0/24", "overlap"),
        ("PODWIRE_DOMAIN", "cluster_local", "not a DNS name"),
        ("PODWIRE_OUT", "out", "not absolute"),
        ("PODWIRE_LOG", "loud", "no such level"),
        ("PODWIRE_PROXY_MODE", "kernelspace", "no such mode"),
        ("PODWIRE_CLUSTER", "My Cluster", "cannot name a cluster"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_environ({name: value})
    first, _, second = str(raised.value).partition("\n")
    assert words in first
    assert value in first
    assert second.startswith(("  give ", "  use "))


def inspected(*mounts: tuple[str, str], project: str = "podwire") -> dict[str, Any]:
    labels = {"com.docker.compose.project": project} if project else None
    return {
        "Image": "sha256:1",
        "Config": {"Labels": labels},
        "Mounts": [{"Type": "bind", "Source": s, "Destination": d} for s, d in mounts],
        "NetworkSettings": {"Networks": {"nodes": {"IPAddress": "10.201.0.2"}}},
    }


@pytest.mark.parametrize(
    ("mounts", "source"),
    [
        ([("/volumes/pods/_data", "/run/podwire-pods")], "/volumes/pods/_data"),
        ([("/srv", "/run")], "/srv/podwire-pods"),
        ([("/srv", "/run"), ("/volumes/p", "/run/podwire-pods")], "/volumes/p"),
        ([("/volumes/p", "/run/podwire-pods"), ("/", "/host")], "/volumes/p"),
    ],
)
def test_the_engine_finds_the_files_of_pods(mounts: list[tuple[str, str]], source: str) -> None:
    found = read(inspected(*mounts), PODS)
    assert (found.project, found.image, found.pod_files) == ("podwire", "sha256:1", source)
    assert found.addresses == ("10.201.0.2",)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (inspected(), r"nothing is mounted at /run/podwire-pods.*\n  give `api` a volume"),
        (inspected(("/x", "/run/podwire")), r"nothing is mounted at"),
        (inspected(("/x", str(PODS)), project=""), r"no project of Docker Compose\n  start it"),
    ],
)
def test_a_container_that_lacks_something(container: dict[str, Any], words: str) -> None:
    with pytest.raises(MachineError, match=words):
        read(container, PODS)
