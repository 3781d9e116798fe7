"""What the engine is asked for."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from podwire.emulator.runtimes.capabilities import asked, kept
from podwire.emulator.runtimes.docker_requests import (
    DockerNode,
    Project,
    container_body,
    first_name,
    in_short,
    lifetime,
    mount,
    sandbox_body,
)
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import ContainerRequest, PodRequest, RuntimeFailure

NODE = DockerNode("node-a", IPv4Address("10.201.0.11"), "id-of-node-a", "id-of-pods-a")
PROJECT = Project("shop", "podwire:1", folders={"/run/podwire/pods": "/data/volumes/run/_data"})


def pod(*, host_network: bool = False) -> PodRequest:
    return PodRequest("default", "web", "uid", "web-host", host_network=host_network)


def body_of(**fields: Any) -> dict[str, Any]:
    request = ContainerRequest("main", ("sh", "-c", "x"), {"A": "1"}, image="alpine:3", **fields)
    return container_body(PROJECT, "SANDBOX", pod(), request, stdin=False)


def test_a_sandbox_is_on_its_nodes_network_without_any_right() -> None:
    body = sandbox_body(PROJECT, NODE, pod())
    assert body["Hostname"] == "web-host"
    assert body["HostConfig"]["NetworkMode"] == "id-of-pods-a"
    assert body["HostConfig"]["CapDrop"] == ["ALL"]
    assert "CapAdd" not in body["HostConfig"]
    assert body["Labels"] == {
        "podwire.dev/made-by": "shop",
        "podwire.dev/pod-uid": "uid",
        "podwire.dev/made-container": "POD",
        "podwire.dev/made-pod": "default/web",
    }


def test_with_the_nodes_network_comes_its_name() -> None:
    body = sandbox_body(PROJECT, NODE, pod(host_network=True))
    assert "Hostname" not in body
    assert body["HostConfig"]["NetworkMode"] == "container:id-of-node-a"


def test_a_container_is_in_the_sandbox_and_the_images_entrypoint_is_replaced() -> None:
    body = body_of(user="1000:1000")
    assert (body["Entrypoint"], body["Cmd"]) == (["sh"], ["-c", "x"])
    assert body["HostConfig"]["NetworkMode"] == body["HostConfig"]["IpcMode"] == "container:SANDBOX"
    assert (body["User"], body["Env"], body["Image"]) == ("1000:1000", ["A=1"], "alpine:3")


@pytest.mark.parametrize(
    ("add", "drop", "given"),
    [
        ([], [], []),
        ([], ["ALL"], []),
        (["NET_ADMIN"], [], ["NET_ADMIN"]),
        (["CAP_NET_RAW"], ["ALL"], ["NET_RAW"]),
        (["SYS_ADMIN", "SYS_MODULE"], [], []),
    ],
)
def test_a_container_has_the_rights_that_it_asks_for_by_name(
    add: list[str], drop: list[str], given: list[str]
) -> None:
    body = body_of(capabilities=kept(add, drop), asked=asked(add))
    assert body["HostConfig"]["CapDrop"] == ["ALL"]
    assert body["HostConfig"]["CapAdd"] == given


@pytest.mark.parametrize(
    ("source", "engines"),
    [
        ("/run/podwire/pods/uid/etc/hosts", "/data/volumes/run/_data/uid/etc/hosts"),
        ("/run/podwire/pods", "/data/volumes/run/_data"),
        ("/run/podwire/api.sock", None),
        ("/run/podwire/podsx", None),
        ("/run/podwire/pods/../api.sock", None),
        ("/", None),
    ],
)
def test_only_our_own_folders_are_mounted(source: str, engines: str | None) -> None:
    bind = Bind("/etc/hosts", source, is_directory=False)
    if engines is None:
        with pytest.raises(RuntimeFailure, match="hostPath volumes are not supported"):
            mount(PROJECT, bind)
    else:
        assert mount(PROJECT, bind)["Source"] == engines


def test_a_name_says_whose_it_is() -> None:
    assert first_name("shop", "default", "web", "main") == "podwire_shop_default_web_main_"


def test_the_engines_stack_is_left_out() -> None:
    said = (
        "failed to create task for container: OCI runtime create failed: runc create failed: "
        'unable to start container process: exec: "x": executable file not found in $PATH: unknown'
    )
    assert in_short(said) == 'exec: "x": executable file not found in $PATH'
    assert in_short("no such network") == "no such network"


@pytest.mark.parametrize(
    ("running", "began", "ended", "expected"),
    [
        (True, "00:10.5Z", "00:09Z", (10.5, 0.0)),
        (False, "00:10.5Z", "00:12Z", (10.5, 12.0)),
        # As engine 26 says it of `true` on a busy machine.
        (False, "00:10.502Z", "00:10.5Z", (10.5, 10.5)),
    ],
)
def test_nothing_ends_before_it_starts(
    *, running: bool, began: str, ended: str, expected: tuple[float, float]
) -> None:
    day = "1970-01-01T00:"
    state = {"Running": running, "StartedAt": day + began, "FinishedAt": day + ended}
    assert lifetime(state) == pytest.approx(expected)
