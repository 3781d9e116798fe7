"""The plugins of a few lines: bufsize, whoami, any, minimal, loadbalance, debug, metadata."""

from dataclasses import replace

import pytest

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.messages.message import Kind, Record, Reply
from podwire.dns.messages.query import Edns
from podwire.dns.messages.wire import asked_again
from podwire.dns.plugins.bufsize import Bufsize
from tests.unit.dns.corefiles import Bench, answers, ask, block, plugin_of, request, shown


@pytest.mark.parametrize(
    ("name", "client", "transport", "expected"),
    [
        (
            "Who.test.",
            "10.0.0.1",
            "udp",
            ["Who.test. 0 A 10.0.0.1", "_udp.Who.test. 0 SRV 0 0 40212 ."],
        ),
        ("a.", "fd00::1", "tcp", ["a. 0 AAAA fd00::1", "_tcp.a. 0 SRV 0 0 40212 ."]),
        (".", "10.0.0.1", "udp", [". 0 A 10.0.0.1", "_udp. 0 SRV 0 0 40212 ."]),
    ],
)
async def test_whoami(name: str, client: str, transport: str, expected: list[str]) -> None:
    configuration = Bench().configure(block("whoami"))
    tcp = transport == "tcp"
    reply = await ask(configuration, name, client=client, transport="tcp" if tcp else "udp")
    assert shown(reply) == ["NOERROR aa", *(f"additional: {line}" for line in expected)]
    assert not reply.lasting


async def test_any() -> None:
    hinfo = r"a.test. 8482 HINFO \# 27 0d414e59206f62736f6c657465640c5365652052464320383438 32"
    assert await answers(block("any", "whoami"), "a.test.", "ANY") == [
        "NOERROR",
        hinfo.replace(" 32", "32"),
    ]
    assert (await ask(Bench().configure(block("any", "whoami")), "a.test.")).by == "whoami"


TEXT = (
    "template IN A yes.test {",
    'answer "{{ .Name }} 1 A 10.0.0.1"',
    'authority "yes.test. 1 NS ns.yes.test."',
    'additional "ns.yes.test. 1 A 10.0.0.2"',
    "}",
    "template IN A no.test {",
    'authority "no.test. 1 SOA ns.no.test. hm.no.test. 1 2 3 4 5"',
    "}",
    "template IN A below.test {",
    'authority "below.test. 1 NS ns.below.test."',
    'additional "ns.below.test. 1 A 10.0.0.2"',
    "}",
)


@pytest.mark.parametrize(
    ("name", "records"), [("yes.test.", 1), ("no.test.", 1), ("below.test.", 2)]
)
async def test_minimal(name: str, records: int) -> None:
    assert len(await answers(block("minimal", *TEXT), name)) == 1 + records


@pytest.mark.parametrize(
    ("line", "offered", "seen", "limit"),
    [
        ("bufsize", 4096, 1232, 1232),
        ("bufsize 512", 4096, 512, 512),
        ("bufsize", 1232, 1232, 0),
        ("bufsize", 700, 700, 0),
        ("bufsize", 0, None, 0),
    ],
)
async def test_bufsize(line: str, offered: int, seen: int | None, limit: int) -> None:
    plugin = plugin_of(Bench().configure(block(line)), "bufsize")
    assert isinstance(plugin, Bufsize)
    asked = request("a.test.")
    if offered:
        edns = Edns(offered, dnssec_ok=True, options=((10, bytes(8)),))
        asked = replace(asked, query=asked_again(asked.query, asked.query.question, edns))
    found: list[Request] = []
    reply = await plugin.serve(asked, _noting(found))
    (inner,) = found
    assert (inner.query.edns.size if inner.query.edns else None) == seen
    assert reply.limit == limit
    if offered:
        assert inner.query.edns == replace(asked.query.edns or Edns(0), size=seen or 0)
        assert inner.query.flags == asked.query.flags


@pytest.mark.parametrize(
    ("name", "kind", "is_dealt"),
    [
        ("two.test.", "A", True),
        # Nothing to deal, or not for dealing.
        ("yes.test.", "A", False),
        ("two.test.", "AXFR", False),
    ],
)
async def test_loadbalance(name: str, kind: str, *, is_dealt: bool) -> None:
    two = ("template IN ANY two.test {", 'answer "a. 1 A 10.0.0.1" "a. 1 A 10.0.0.2"', "}")
    configuration = Bench().configure(block("loadbalance", *two, *TEXT))
    assert (await ask(configuration, name, kind)).dealt == is_dealt


@pytest.mark.parametrize("name", ["debug", "metadata"])
async def test_accepted_and_no_part_of_the_chain(name: str) -> None:
    plugin = plugin_of(Bench().configure(block(name, "whoami")), name)
    assert type(plugin).serve is Plugin.serve


def _noting(found: list[Request]) -> Link:
    async def link(asked: Request) -> Reply:
        found.append(asked)
        return Reply(answer=(Record("a.test.", Kind.A, 1, "b."),))

    return link
