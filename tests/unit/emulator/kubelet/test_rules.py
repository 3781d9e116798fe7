"""Small rules: back-off, grace, what is not supported, images that the user added."""

import asyncio
import json
from typing import Any

import pytest

from podwire.emulator.kubelet import backoff
from podwire.emulator.kubelet.grace import Grace
from podwire.emulator.kubelet.unsupported import unsupported
from podwire.kube.codec import decode
from podwire.kube.node_object import node_object, os_image
from podwire.kube.objects import Pod
from podwire.testing.jumps import JumpingLoop

LOOPS = {"jumping": JumpingLoop}


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(policy: str, status: int, again: bool) -> None:  # noqa: FBT001
    assert backoff.restarts(policy, status) is again


def test_delays() -> None:
    assert [backoff.before_restart(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 5000)] == [
        0, 10, 20, 40, 80, 160, 300, 300, 300]  # fmt: skip
    assert [backoff.before_retry(n) for n in (1, 2, 3, 9, 10, 5000)] == [1, 2, 4, 256, 300, 300]


async def ends_after(grace: Grace, *, at_least: float = 0.0) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(TimeoutError):
        async with grace.limit(at_least=at_least):
            await asyncio.sleep(10_000)
    return clock() - began


async def test_grace_ends() -> None:
    assert await ends_after(Grace(30)) == pytest.approx(30, abs=0.01)
    assert await ends_after(Grace(0)) == pytest.approx(0, abs=0.01)
    assert await ends_after(Grace(0), at_least=2) == pytest.approx(2, abs=0.01)
    assert await ends_after(Grace(30), at_least=2) == pytest.approx(30, abs=0.01)
    assert Grace(0).over
    assert not Grace(1).over


async def test_work_that_is_quick_does_not_notice() -> None:
    grace = Grace(30)
    async with grace.limit():
        await asyncio.sleep(1)
    grace.shorten(0)
    assert grace.over


@pytest.mark.parametrize(
    ("first", "after", "then", "total"),
    [(30, 10, 5, 15), (30, 10, 0, 10), (30, 10, 90, 30), (5, 1, 4, 5)],
)
async def test_grace_only_gets_shorter(
    first: float, after: float, then: float, total: float
) -> None:
    grace = Grace(first)
    asyncio.get_running_loop().call_later(after, grace.shorten, then)
    assert await ends_after(grace) == pytest.approx(total, abs=0.01)


def pod(**spec: Any) -> Pod:
    containers = spec.pop("containers", [{"name": "web"}])
    return decode(Pod, json.dumps({"spec": {"containers": containers, **spec}}).encode())


NOTHING: list[dict[str, Any]] = [
    {},
    {"securityContext": {}},
    {"securityContext": {"runAsUser": 0, "runAsNonRoot": False, "supplementalGroups": []}},
    {
        "containers": [
            {
                "name": "web",
                "securityContext": {
                    "privileged": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CAP_NET_RAW"]},
                },
                "livenessProbe": {"httpGet": {"port": 80}},
            }
        ]
    },
]


@pytest.mark.parametrize("spec", NOTHING)
def test_what_can_be_honoured_is_not_worth_a_word(spec: dict[str, Any]) -> None:
    assert unsupported(pod(**spec)) == ()


def test_what_cannot_be_honoured_is_named_in_one_message() -> None:
    web = {
        "name": "web",
        "securityContext": {
            "runAsNonRoot": True,
            "privileged": True,
            "capabilities": {"add": ["SYS_ADMIN", "NET_ADMIN"]},
        },
    }
    init = {"name": "setup", "securityContext": {"runAsUser": 1000}}
    made = pod(
        securityContext={"fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
        containers=[web],
        initContainers=[init],
    )
    assert unsupported(made) == (
        "not supported: spec.securityContext.fsGroup, spec.securityContext.seccompProfile, "
        "spec.initContainers{setup}.securityContext.runAsUser, "
        "spec.containers{web}.securityContext.runAsNonRoot, "
        "spec.containers{web}.securityContext.privileged, "
        "spec.containers{web}.securityContext.capabilities.add: SYS_ADMIN; "
        "containers run as the root user of the sandbox",
    )


def test_what_the_runtime_honours_is_not_named() -> None:
    web = {"name": "web", "securityContext": {"runAsUser": 1000, "privileged": True}}
    made = pod(securityContext={"runAsUser": 2000}, containers=[web])
    assert unsupported(made, ("runAsUser",)) == (
        "not supported: spec.containers{web}.securityContext.privileged",
    )


def test_grpc_probes_are_named() -> None:
    web = {
        "name": "web",
        "readinessProbe": {"grpc": {"port": 9}},
        "livenessProbe": {"grpc": {"port": 9}},
    }
    assert unsupported(pod(containers=[web])) == (
        "gRPC health checks are not supported: spec.containers{web}.readinessProbe, "
        "spec.containers{web}.livenessProbe; the probe succeeds if the port accepts a connection",
    )


def test_a_nodes_object() -> None:
    made = node_object("node-1", "192.168.1.10", "10.244.1.0/24", {"zone": "a"}, lambda: "NOW")
    node: dict[str, Any] = made
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert node["metadata"]["labels"]["zone"] == "a"
    assert node["spec"]["podCIDR"] == "10.244.1.0/24"
    assert node["status"]["conditions"][0]["lastHeartbeatTime"] == "NOW"
    addresses = {a["type"]: a["address"] for a in node["status"]["addresses"]}
    assert addresses == {"InternalIP": "192.168.1.10", "Hostname": "node-1"}
    assert os_image()
