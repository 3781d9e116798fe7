"""transfer: who gets which zone."""

import struct
from dataclasses import replace

import pytest

from podwire.dns.chain import Request
from podwire.dns.cluster.watched import WatchedService
from podwire.dns.messages.compression import wire_name
from podwire.dns.messages.message import Question, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.parts.transfers import known_serial
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.corefiles import CLIENT, Bench, ask_for, block, kind_of, request, shown


def asked(
    name: str, kind: str, *, client: str = CLIENT[0], transport: Transport = "tcp"
) -> Request:
    return request(name, kind, client=client, transport=transport)


def incremental(name: str, serial: int, *, soas: int = 1, kind: int = 6) -> Query:
    """Return an IXFR query with an authority section."""
    packet = bytearray(question_packet(7, Question(name, kind_of("IXFR"))))
    data = wire_name("ns.x.") + wire_name("hm.x.") + struct.pack("!5I", serial, 1, 2, 3, 4)
    if kind != 6:
        data = bytes(4)
    record = wire_name(name) + struct.pack("!HHIH", kind, 1, 5, len(data)) + data
    packet[9] = soas
    query = screen(bytes(packet) + record * soas)
    assert isinstance(query, Query)
    return query


async def answered(lines: list[str], query: Request) -> list[str]:
    text = block(*lines, "kubernetes cluster.local", "whoami")
    configuration = Bench().configure(text)
    for plugin in configuration.plugins:
        if isinstance(plugin, Kubernetes):
            table = plugin.table
            table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
            service = {
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"clusterIPs": ["10.96.0.7"], "ports": [{"port": 80}]},
            }
            table.change_service(None, convert(WatchedService, service), now=77)
            table.synced()
    reply = await ask_for(configuration, query)
    return ["next"] if reply.by == "whoami" else shown(reply)


TO_ALL = ["transfer cluster.local {", "to *", "}"]


@pytest.mark.parametrize(
    ("lines", "query", "first"),
    [
        (TO_ALL, asked("cluster.local.", "AXFR"), "NOERROR aa"),
        (TO_ALL, asked("CLUSTER.local.", "AXFR"), "NOERROR aa"),
        (TO_ALL, asked("cluster.local.", "AXFR", transport="udp"), "REFUSED"),
        (TO_ALL, asked("cluster.local.", "IXFR"), "SERVFAIL"),
        (TO_ALL, asked("other.test.", "AXFR"), "next"),
        (["transfer {", "to *", "}"], asked("other.test.", "AXFR"), "next"),
        (["transfer {", "to 10.0.0.1", "}"], asked("cluster.local.", "AXFR"), "REFUSED"),
        (["transfer {", "to 10.244.1.5", "}"], asked("cluster.local.", "AXFR"), "NOERROR aa"),
        (
            ["transfer {", "to 10.244.1.5:53 ::1", "}"],
            asked("cluster.local.", "AXFR"),
            "NOERROR aa",
        ),
        (
            ["transfer . {", "to 10.0.0.1", "}", "transfer cluster.local {", "to *", "}"],
            asked("cluster.local.", "AXFR"),
            "NOERROR aa",
        ),
        (
            ["transfer . {", "to *", "}", "transfer cluster.local {", "to 10.0.0.1", "}"],
            asked("cluster.local.", "AXFR"),
            "REFUSED",
        ),
        (["transfer {", "to *", "source 10.0.0.1", "}"], asked("cluster.local.", "AXFR"), "NOERR"),
    ],
)
async def test_who_gets_what(lines: list[str], query: Request, first: str) -> None:
    assert (await answered(lines, query))[0].startswith(first)


async def test_a_whole_zone() -> None:
    lines = await answered(TO_ALL, asked("cluster.local.", "AXFR"))
    assert "SOA" in lines[1]
    assert lines[1] == lines[-1]
    assert "web.shop.svc.cluster.local. 5 A 10.96.0.7" in lines


@pytest.mark.parametrize(("serial", "count"), [(77, 1), (76, 7), (0, 7)])
async def test_incremental(serial: int, count: int) -> None:
    query = replace(asked("cluster.local.", "IXFR"), query=incremental("cluster.local.", serial))
    lines = await answered(TO_ALL, query)
    assert (len(lines) - 1 == 1) == (count == 1), lines


@pytest.mark.parametrize(
    ("query", "serial"),
    [
        (incremental("a.test.", 5), 5),
        (incremental("a.test.", 2**32 - 1), 2**32 - 1),
        (incremental("a.test.", 5, soas=0), None),
        (incremental("a.test.", 5, kind=1), None),
    ],
)
def test_what_a_client_has(query: Query, serial: int | None) -> None:
    assert known_serial(query) == serial
