"""Whatever the front door keeps is what its plugins would say now, to this client.

`Reply.lasting` is a promise of each plugin; here all of them are played against each other, while
everything that they answer from changes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from podwire.dns.cluster.watched import WatchedPod, WatchedService
from podwire.dns.messages.message import Data, Kind, Question, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet, read_reply
from podwire.dns.plugins.hosts import Hosts
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.traffic import Traffic
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.corefiles import Bench, block, plugin_of

Json = dict[str, Any]
Said = tuple[int, frozenset[tuple[str, int, Data]]]

PLUGINS: Final = (
    *("errors", "any", "chaos v", "loadbalance", "bufsize", "minimal"),
    "rewrite continue name suffix .x.test .test answer auto",
    "rewrite ttl suffix test 7",
    "rewrite cname exact old.out. web.shop.svc.cluster.local.",
    "autopath @kubernetes",
    *("template IN A who.test {", 'answer "{{ .Name }} 60 IN A {{ .Remote }}"', "}"),
    *("template IN A alias.test {", 'answer "{{ .Name }} 60 IN CNAME web.x.test."', "}"),
    *("hosts hosts test {", "fallthrough", "}"),
    *("k8s_external ext.test {", "headless", "}"),
    *("kubernetes cluster.local in-addr.arpa {", "pods verified", "fallthrough in-addr.arpa", "}"),
)
CACHE: Final = ("cache 30 {", "disable denial cluster.local", "}")
NAMES: Final = (
    "web.shop.svc.cluster.local.",
    "web.shop.svc.cluster.local.shop.svc.cluster.local.",
    "web.shop.shop.svc.cluster.local.",
    "web.test.shop.svc.cluster.local.",
    "alias.shop.svc.cluster.local.",
    "shop.svc.cluster.local.",
    "10-244-1-5.shop.pod.cluster.local.",
    "cluster.local.",
    "nothing.cluster.local.",
    "web.shop.ext.test.",
    "web.test.",
    "web.x.test.",
    "a.alias.test.",
    "a.who.test.",
    "1.0.96.10.in-addr.arpa.",
    "1.0.0.10.in-addr.arpa.",
)
KINDS: Final = (Kind.A, Kind.A, Kind.AAAA, Kind.SRV, Kind.TXT, Kind.PTR, Kind.SOA, Kind.ANY)
TRANSPORTS: Final[tuple[Transport, ...]] = ("udp", "tcp")
CLIENTS: Final = ("10.244.1.5", "10.244.1.6", "10.1.1.1")
EXTERNAL: Final = (
    "web.test",
    "old.out",
    "web.shop.svc.cluster.local",
    "a.alias.test",
    "a.who.test",
)


class Room(Bench):
    """A bench whose doors know when tables change."""

    def _door(self, name: str) -> FrontDoor:
        process = self.process
        return FrontDoor(
            revision=process.sources.revision,
            clock=self.clock,
            dice=process.dice,
            traffic=Traffic(process.metrics, name),
        )


def changes(
    room: Room, cluster: Kubernetes, hosts: Hosts, dice: Random
) -> list[Callable[[], None]]:
    """Return what may happen: each time it is called it changes something, or nothing."""
    table, file = cluster.table, room.folder / "hosts"
    services: dict[str, WatchedService] = {}
    pods: list[WatchedPod] = []

    def service(name: str, spec: Json) -> None:
        obj = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
        new = convert(WatchedService, obj)
        table.change_service(services.get(name), new, now=room.clock.now())
        services[name] = new

    def web() -> None:
        spec = {"clusterIPs": [f"10.96.0.{dice.choice((1, 2))}"], "ports": [{"port": 80}]}
        service("web", {**spec, "externalIPs": [f"192.0.2.{dice.choice((1, 2))}"]})

    def alias() -> None:
        service("alias", {"type": "ExternalName", "externalName": dice.choice(EXTERNAL)})

    def pod() -> None:
        status = {"phase": "Running", "podIP": dice.choice(CLIENTS[:2])}
        new = convert(
            WatchedPod, {"metadata": {"name": "p", "namespace": "shop"}, "status": status}
        )
        table.change_pod(pods[-1] if pods else None, new, now=room.clock.now())
        pods.append(new)

    def line() -> None:
        file.write_text(f"10.0.0.{dice.choice((1, 2))} web.test\n" + "\n" * dice.randrange(99))
        if hosts.look():
            room.process.sources.forget_answers()

    def time() -> None:
        room.clock.advance(dice.choice((0.3, 1.1, 4.7)))

    for change in (web, alias, pod, line):
        change()
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    table.synced()
    return [web, alias, pod, line, time, time]


@pytest.mark.parametrize("seed", range(2))
# A cache hides whether what stands behind it keeps its promises.
@pytest.mark.parametrize("lines", [PLUGINS, (*PLUGINS, *CACHE)], ids=["uncached", "cached"])
async def test_what_is_kept_is_what_would_be_said(
    lines: Sequence[str], seed: int, tmp_path: Path
) -> None:
    dice = Random(seed)
    room = Room(folder=tmp_path)
    made = room.configure(block(*lines))
    cluster, hosts = plugin_of(made, "kubernetes"), plugin_of(made, "hosts")
    assert isinstance(cluster, Kubernetes)
    assert isinstance(hosts, Hosts)
    (server,) = made.servers.values()
    events = changes(room, cluster, hosts, dice)
    hits = 0
    for _ in range(6000):
        if dice.random() < 0.02:
            dice.choice(events)()
        packet = question_packet(7, Question(dice.choice(NAMES), dice.choice(KINDS)))
        client, transport = (dice.choice(CLIENTS), 4000), dice.choice(TRANSPORTS)
        reply = server.door.kept(transport)(packet[2:])
        if reply is None:
            await server.door.answer(packet, client, transport)
            continue
        hits += 1
        fresh = FrontDoor(
            revision=lambda: 0,
            clock=room.clock,
            dice=dice,
            traffic=Traffic(Metrics(), "dns://:53"),
        )
        fresh.open(server.blocks)
        (wanted,) = await fresh.answer(packet, client, transport)
        assert said(packet[:2] + reply, packet) == said(wanted, packet)
    assert hits > 200


def said(message: bytes, packet: bytes) -> Said:
    """Return code and records; TTLs count down, and their order is nobody's business."""
    query = screen(packet)
    assert isinstance(query, Query)
    reply = read_reply(message, query)
    records = (*reply.answer, *reply.authority, *reply.additional)
    return reply.rcode, frozenset((r.name.lower(), r.kind, r.data) for r in records)
