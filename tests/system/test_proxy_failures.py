"""What goes wrong with a proxy, in every mode: who is served meanwhile, what is said, and the way back."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.proxying.failures import (
    NODE_1,
    PORT,
    SERVICES,
    SLICES,
    Json,
    Scene,
    Target,
    answered,
    backend,
    pod,
    started,
)
from tests.system.proxying.situation import MODES
from tests.system.proxying.test_situations import PROGRAMS
from tests.system.until import items

MANY = 250
"""Services that come and change at once. A thousand take no other way, but four times as long."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.parametrize(
        "scene",
        MODES,
        indirect=True,
        scope="module",
    ),
]


@pytest.fixture(scope="module")
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Give one cluster per mode to all tests of this file."""
    mode = str(request.param)
    need("python3", *PROGRAMS.get(mode, ()))
    made = started(mode, tmp_path_factory.mktemp(mode))
    try:
        asyncio.run(made.fill())
        yield made
    finally:
        made.launched.end()


async def test_killed_while_it_programs(scene: Scene) -> None:
    steady = await scene.service("steady", "here", "there")
    await scene.served(steady, "here", "there")
    udp = Target(steady.host, PORT, "UDP")
    async with scene.watching(steady, udp) as seen:
        pid, before = await scene.host_pid(), await scene.restarts()
        async with scene.cluster.frozen_proxy("node-1"):
            targets = await scene.many(MANY)
        await asyncio.sleep(0.05)  # the one sync of all of them has begun
        scene.kill(pid)

        async def back() -> bool:
            return await scene.restarts() == before + 1 and await scene.synced()

        async def all_answer() -> bool:
            return answered(await scene.ask(*targets)) == {"there": MANY}

        await scene.eventually(back, "the proxy was started again")
        await scene.eventually(all_answer, f"all {MANY} Services answer")
    for one in seen:
        if scene.rewrites:
            assert not one.failures
        assert one.names == {"here", "there"}


async def test_all_slices_change_at_once(scene: Scene) -> None:
    steady = await scene.service("still", "here")
    await scene.served(steady, "here")
    targets = await scene.many(MANY)

    async def moved(to: str) -> bool:
        return answered(await scene.ask(*targets)) == {to: MANY}

    await scene.eventually(lambda: moved("there"), "all lead there")
    syncs = "kubeproxy_sync_proxy_rules_duration_seconds_count"
    heard = "kubeproxy_sync_proxy_rules_endpoint_changes_total"
    before, changes = await scene.metric(syncs), await scene.metric(heard)
    async with scene.watching(steady, Target(steady.host, PORT, "UDP")) as seen:
        async with scene.cluster.frozen_proxy("node-1"):
            await scene.label("here", many="yes")
            await scene.label("there", many=None)
            await scene.eventually(lambda: slices_lead(scene, "here"), "the API says so")
        await scene.eventually(lambda: moved("here"), "all lead here")
    assert await scene.metric(heard) - changes >= MANY
    # What came while it was frozen is one sync; those that follow are late echoes of the API.
    assert await scene.metric(syncs) - before <= 10
    assert not [one.failures for one in seen if one.failures]
    await scene.label("there", many="yes")
    await scene.label("here", many=None)


async def slices_lead(scene: Scene, to: str) -> bool:
    """Return whether the API has the pod *to* as the endpoint of the many Services."""
    slices = items(await scene.cluster.get(SLICES))
    found = [
        [endpoint["addresses"] for endpoint in each["endpoints"] or ()]
        for each in slices
        if each["metadata"]["name"].startswith("many-")
    ]
    return found == [[[scene.pods[to]]]] * MANY


async def test_a_port_that_another_process_has(scene: Scene) -> None:
    other = await scene.service("other", "here")
    await scene.cluster.apply(squatter("squatter", 30077))
    await scene.cluster.ready("squatter")
    taken = await scene.service("taken", "here", type="NodePort", nodePort=30077)
    node_port = Target(NODE_1, 30077)
    if scene.rewrites:
        # The kernel rewrites packets before any socket sees them.
        await scene.served(node_port, "here")
        assert not await scene.events("FailedToServe", "taken")
        await scene.cluster.delete("pod/squatter")
    else:

        async def said() -> list[Json]:
            return await scene.events("FailedToServe", "taken")

        (event, *_) = await scene.eventually(said, "an event says so")
        assert event["type"] == "Warning"
        assert event["source"] == {"component": "kube-proxy", "host": "node-1"}
        assert f"cannot serve {NODE_1}:30077/TCP" in event["message"], event["message"]
        assert "Address already in use" in event["message"]
        assert "default/taken" in await scene.log()
        await scene.served(taken, "here")
        assert await scene.names(node_port) == {"squatter"}
        await scene.cluster.delete("pod/squatter")
    await scene.served(node_port, "here")
    assert await scene.names(other) == {"here"}
    (state,) = [s for s in (await scene.state())["services"] if s["name"] == "default/taken:tcp"]
    assert not state["failed"]


SQUATTER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    client, _ = server.accept()
    client.sendall(b"squatter has it")
    client.close()
"""


def squatter(name: str, port: int) -> Json:
    """Return a pod that has a port of node-1."""
    container: Json = {
        "command": ["python3", "-c", SQUATTER, NODE_1, str(port)],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
    }
    return pod(name, "node-1", container, hostNetwork=True)


async def test_a_black_hole(scene: Scene) -> None:
    hole = backend("hole") | {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}
    await scene.cluster.apply(pod("hole", "node-2", hole))
    await scene.cluster.ready("hole")
    await scene.know_pods()
    mixed = await scene.service("mixed", "here", "hole")
    lost = await scene.service("lost", "hole")
    other = await scene.service("good", "here", "there")
    await scene.served(mixed, "here", "hole")
    await scene.served(lost, "hole")
    rule = "add table inet hole; add chain inet hole in { type filter hook input priority 0; policy drop; }"
    await scene.cluster.pod("hole").exec("nft", rule)
    async with scene.watching(other, Target(other.host, PORT, "UDP")) as seen:
        # Each try has 1.7 s; that is less than the relay's patience with one endpoint alone.
        tcp, alone, udp = await scene.ask(mixed, lost, Target(lost.host, PORT, "UDP"), tries=12)
        assert alone == [["timed out"]]
        assert udp == [["timed out"]]
        if scene.rewrites:
            # The choice was made with the first packet, and is kept for those that follow.
            assert tcp[-1] == ["timed out"]
        else:
            # The client's handshake was with the proxy, which goes on to the next endpoint.
            assert answered([tcp]) == {"here": 12}
    assert not [one.failures for one in seen if one.failures]
    await scene.cluster.pod("hole").exec("nft", "delete table inet hole")
    await scene.served(mixed, "here", "hole")


FLUSHES = {
    "userspace": (("nft", "flush", "ruleset"), ("ip", "rule", "flush")),
    "nftables": (
        ("nft", "flush", "ruleset"),
        ("nft", "delete", "table", "ip", "kube-proxy"),
        ("nft", "flush", "table", "ip", "kube-proxy"),
    ),
    "iptables": (
        ("sh", "-c", "iptables -F; iptables -t nat -F"),
        ("nft", "flush", "ruleset"),
        ("sh", "-c", "iptables-save | grep -v KUBE | iptables-restore"),
    ),
    # What the proxy takes when its rules are too many for the other where the user is not root.
    "iptables-legacy": (
        ("sh", "-c", "iptables-legacy -F; iptables-legacy -t nat -F"),
        (
            "sh",
            "-c",
            "iptables-legacy-save -t nat | grep -v KUBE | iptables-legacy-restore",
        ),
    ),
    "ipvs": (("nft", "flush", "ruleset"),),
}


async def test_flushed_rules_come_back(scene: Scene) -> None:
    steady = await scene.service("flushed", "here", "there")
    await scene.served(steady, "here", "there")
    kept = await sources(scene, steady)
    variant = "iptables-legacy" if "using iptables-legacy" in await scene.log() else scene.mode
    for argv in FLUSHES[variant]:
        if argv[0] == "ip":
            await scene.on_node("sh", "-c", "ip rule del fwmark 0x1 2>/dev/null; ip rule")
        before = (await scene.state())["lastSync"]  # what was flushed may be back at once
        await scene.on_node(*argv)
        if argv[0] == "ip":
            await scene.on_node("sh", "-c", LOCAL_RULES)

        async def repaired(before: float = before) -> bool:
            return (
                (await scene.state())["lastSync"] > before
                and await scene.names(steady, 8) == {"here", "there"}
                and await sources(scene, steady) == kept
            )

        await scene.eventually(repaired, f"all is there again after {' '.join(argv)}")
    assert "everything is programmed again" in await scene.log()


LOCAL_RULES = """
ip rule add pref 0 lookup local; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default
"""


async def sources(scene: Scene, target: Target) -> set[str]:
    """Return whose addresses the endpoints of *target* see for the client."""
    (met,) = await scene.ask(target, tries=8)
    return {t[1].split()[1] for t in met if t[0] == "answered"}


async def test_frozen(scene: Scene) -> None:
    target = await scene.service("frozen", "here")
    await scene.served(target, "here")
    async with scene.cluster.frozen_proxy("node-1"):
        await scene.endpoints("frozen", "there")
        overdue = lambda: scene.health_is(503)  # noqa: E731
        await scene.eventually(overdue, "/healthz says 503 after two sync periods")
        assert await scene.names(target, 4) == {"here"}
        assert (await scene.page(10256, "/livez"))[0] == 503
        assert (await scene.state())["frozen"]
    await scene.served(target, "there")
    await scene.eventually(lambda: scene.health_is(200), "/healthz says 200")


async def test_out_of_files(scene: Scene) -> None:
    if scene.rewrites:
        await without_any_file(scene)
        return
    steady = await scene.service("calm", "here", "there")
    await scene.served(steady, "here", "there")
    proxy = await scene.proxy()
    shown = await proxy.exec("ls", "/proc/1/fd")
    used = {int(number) for number in shown.stdout.split()}
    # The last 64 are kept for connections; below them four more are free for listeners.
    fourth = [number for number in range(len(used) + 8) if number not in used][3]
    await proxy.exec("prlimit", "--pid", "1", f"--nofile={fourth + 1 + 64}:")
    new = [f"greedy-{n}" for n in range(20)]
    async with scene.watching(steady, Target(steady.host, PORT, "UDP")) as seen:
        targets = [await scene.service(name, "here") for name in new]

        async def failed() -> set[str]:
            services = (await scene.state())["services"]
            return {s["name"].split("/")[1].split(":")[0] for s in services if s["failed"]}

        lacking = await scene.eventually(failed, "some cannot be served")
        (event, *_) = await scene.eventually(
            lambda: scene.events("FailedToServe", sorted(lacking)[0]), "an event says so"
        )
        assert "Too many open files" in event["message"]
        await flood(scene, steady)
        assert await scene.names(steady, 4) <= {"here", "there"}
        assert (await scene.log()).count("clients wait to be accepted") == 1
        await proxy.exec("prlimit", "--pid", "1", "--nofile=4096:")
        for target in targets:
            await scene.served(target, "here")
        assert not await failed()
    assert not [one.failures for one in seen if one.failures]
    for name in new:
        await scene.cluster.delete(f"service/{name}")


async def without_any_file(scene: Scene) -> None:
    """What is programmed serves on, though no program can be started; then it goes on."""
    steady = await scene.service("calm", "here", "there")
    await scene.served(steady, "here", "there")
    proxy = await scene.proxy()
    restarts = await scene.restarts()
    async with scene.watching(steady, Target(steady.host, PORT, "UDP")) as seen:
        await proxy.exec("prlimit", "--pid", "1", "--nofile=1:")
        await scene.on_node("sh", "-c", "iptables -t nat -N KUBE-STRAY; nft add table ip stray")
        late = await scene.service("late", "here")
        if scene.mode == "iptables":

            async def said() -> bool:
                return "Too many open files" in await scene.log()

            await scene.eventually(said, "the log says why")
        await proxy.exec("prlimit", "--pid", "1", "--nofile=4096:")
        await scene.served(late, "here")
    await scene.on_node("nft", "delete", "table", "ip", "stray")
    assert not [one.failures for one in seen if one.failures]
    assert await scene.restarts() == restarts


async def flood(scene: Scene, target: Target) -> None:
    """Have more clients than there are files, all at once; each is answered at last."""
    found = await scene.client.exec("python3", "-c", FLOOD, target.host, str(target.port), "150")
    assert json.loads(found.stdout) == {"answered": 150}


FLOOD = """
import asyncio, collections, json, sys

async def one():
    try:
        reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
        said = await asyncio.wait_for(reader.read(100), 10)
        writer.close()
        return "answered" if said else "nothing"
    except Exception as error:
        return repr(error)

async def main():
    met = await asyncio.gather(*(one() for _ in range(int(sys.argv[3]))))
    print(json.dumps(collections.Counter(met)))

asyncio.run(main())
"""


async def test_health_check_node_ports_and_pages(scene: Scene, tmp_path: Path) -> None:
    await scene.service("balanced", "there", type="LoadBalancer", externalTrafficPolicy="Local")
    port = (await scene.cluster.get(f"{SERVICES}/balanced"))["spec"]["healthCheckNodePort"]
    for ends, status, count in (
        (("there",), 503, 0),
        (("here", "there"), 200, 1),
        ((), 503, 0),
        (("here",), 200, 1),
    ):
        await scene.endpoints("balanced", *ends)

        async def told(status: int = status, count: int = count) -> bool:
            found, body = await scene.health_check(port)
            return (found, body.get("localEndpoints")) == (status, count)

        await scene.eventually(told, f"{ends}: {status}")
    _, body = await scene.health_check(port)
    assert body["service"] == {"namespace": "default", "name": "balanced"}
    assert body["serviceProxyHealthy"] is True
    for path, number in (("/healthz", 10256), ("/livez", 10256), ("/healthz", 10249)):
        assert (await scene.page(number, path))[0] == 200, path
    shown = {"ipvs": {"ipvs", "ipvs (userspace)"}}.get(scene.mode, {scene.mode})
    assert (await scene.page(10249, "/proxyMode"))[1] in shown
    status, text = await scene.page(10249, "/metrics")
    assert status == 200
    assert "kubeproxy_sync_proxy_rules_last_timestamp_seconds" in text
    if os.access("/usr/bin/promtool", os.X_OK):
        done = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=text.encode(),
            capture_output=True, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode in (0, 3), said  # 3: a name that it would have chosen otherwise
        assert b"error" not in said.lower(), said
    await scene.cluster.delete("service/balanced")


async def test_what_fails_names_service_node_and_reason(scene: Scene) -> None:
    """A health check's port that another has is a failure in every mode."""
    await scene.cluster.apply(squatter("checker", 32011))
    await scene.cluster.ready("checker")
    more: Json = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32011,
    }
    await scene.service("unchecked", "here", **more)
    reason = "FailedToStartServiceHealthcheck"
    (event, *_) = await scene.eventually(
        lambda: scene.events(reason, "unchecked"), "an event says so"
    )
    words = 'node node-1 failed to start healthcheck "default/unchecked" on port 32011'
    assert event["message"].startswith(words)
    assert "address already in use" in event["message"]
    assert words in await scene.log()
    await scene.cluster.delete("pod/checker")

    async def served() -> bool:
        try:
            return (await scene.health_check(32011))[0] == 200
        except ValueError:
            return False

    await scene.eventually(served, "the check is served when the port is free")
