"""template: records made from names, and which questions are whose."""

import re

import pytest

from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.messages.message import Question
from podwire.dns.messages.wire import question_packet
from tests.unit.dns.corefiles import Bench, answers, ask, block

ADDRESSES = (
    "template IN A ip.test {",
    r'match "^ip-(?P<a>[0-9]+)-(?P<b>\d+)-(\d+)-(?<d>[0-9]*)[.]ip[.]test[.]$"',
    'answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ index .Match 3 }}.{{.Group.d}}"',
)
NEXT = ("template ANY ANY . {", 'answer "next. 1 IN TXT next"', "}")
WENT_ON = ["NOERROR aa", 'next. 1 TXT "next"']


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("IP-10-0-0-1.ip.test.", "A", ["NOERROR aa", "ip-10-0-0-1.ip.test. 60 A 10.0.0.1"]),
        ("ip-10-0-0-1.ip.test.", "ANY", ["NOERROR aa", "ip-10-0-0-1.ip.test. 60 A 10.0.0.1"]),
        ("ip-10-0-0-1.ip.test.", "AAAA", WENT_ON),
        ("ip-10-0-0-1.other.test.", "A", WENT_ON),
        ("nothing.ip.test.", "A", ["SERVFAIL"]),
        ("ip-10-0-0-999.ip.test.", "A", ["SERVFAIL"]),
    ],
)
async def test_questions(name: str, kind: str, expected: list[str]) -> None:
    assert await answers(block(*ADDRESSES, "}", *NEXT), name, kind) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fallthrough", WENT_ON),
        ("fallthrough ip.test", WENT_ON),
        ("fallthrough other.test", ["SERVFAIL"]),
    ],
)
async def test_fallthrough(line: str, expected: list[str]) -> None:
    assert await answers(block(*ADDRESSES, line, "}", *NEXT), "nothing.ip.test.") == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["rcode NXDOMAIN"], ["NXDOMAIN aa"]),
        (["rcode SERVFAIL", 'answer "a. 1 IN A 10.0.0.1"'], ["SERVFAIL"]),
        (["rcode REFUSED"], ["REFUSED aa"]),
        ([], ["NOERROR aa"]),
        (
            ['authority "{{ .Zone }} 60 IN SOA ns.{{ .Zone }} hm.{{ .Zone }} (1 60 60 60 60)"'],
            ["NOERROR aa", "authority: z.test. 60 SOA ns.z.test. hm.z.test. 1 60 60 60 60"],
        ),
        (
            ['answer "{{ .Name }} {{ .Class }} {{ .Type }} 10.0.0.1"'],
            ["NOERROR aa", "x.z.test. 3600 A 10.0.0.1"],
        ),
        (
            ['answer "{{ .Name }} 1 A 10.0.0.1" "{{ .Name }} 1 A 10.0.0.2"'],
            ["NOERROR aa", "x.z.test. 1 A 10.0.0.1", "x.z.test. 1 A 10.0.0.2"],
        ),
        (
            ['answer "  {{- .Name }} 1 {{- /* why */ -}} A 10.0.0.1"'],
            ["SERVFAIL"],
        ),
        (
            ['answer "  {{- .Name }} 1 {{/* why */ -}} A 10.0.0.1"'],
            ["NOERROR aa", "x.z.test. 1 A 10.0.0.1"],
        ),
        (
            ["match (x)[.]", 'answer "{{ index .Group \\"1\\" }}. 1 A {{ .Remote }}"'],
            ["NOERROR aa", "x. 1 A 10.244.1.5"],
        ),
        (["upstream"], ["NOERROR aa"]),
    ],
)
async def test_what_is_made(lines: list[str], expected: list[str]) -> None:
    text = block("template IN A z.test {", *lines, "}")
    assert await answers(text, "x.z.test.") == expected


@pytest.mark.parametrize(
    ("answer", "name", "expected"),
    [
        ("{{ .Name }} 1 A 10.{{ parseInt .Group.b 16 8 }}.0.1", "ip0aff.test.", "10.255.0.1"),
        ("{{ .Name }} 1 A 10.{{ (parseInt .Group.b 16 8) }}.0.1", "ip0a10.test.", "10.16.0.1"),
        ("{{/* why */}}{{ .Name }} 1 A 10.0.0.{{ 7 }}", "ip0a10.test.", "10.0.0.7"),
        ("{{ .Name }} 1 A {{ `10.0.0.8` }}", "ip0a10.test.", "10.0.0.8"),
    ],
)
async def test_functions(answer: str, name: str, expected: str) -> None:
    text = block("template IN A test {", "match ^ip0a(?P<b>[0-9a-f]{2})", f'answer "{answer}"', "}")
    assert await answers(text, name) == ["NOERROR aa", f"{name} 1 A {expected}"]


async def test_what_an_alias_leads_to_comes_with_it() -> None:
    text = block(
        "template IN ANY alias.test {",
        'answer "{{ .Name }} 60 IN CNAME target.test."',
        "}",
        "template IN A target.test {",
        'answer "{{ .Name }} 60 IN A 192.0.2.7"',
        "}",
    )
    alias = "www.alias.test. 60 CNAME target.test."
    assert await answers(text, "www.alias.test.", "TXT") == ["NOERROR aa", alias]
    assert await answers(text, "www.alias.test.", "A") == [
        "NOERROR aa",
        alias,
        "target.test. 60 A 192.0.2.7",
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("{{ .Group.missing }} 1 A 10.0.0.1", "plugin/template: there is no group missing"),
        ("{{ index .Match 9 }} 1 A 10.0.0.1", "plugin/template: error calling index"),
        ("{{ parseInt .Name 10 8 }} 1 A 10.0.0.1", "plugin/template: error calling parseInt"),
        ("{{ .Name }} 1 A nonsense", "plugin/template: Expected 4 octets in 'nonsense'"),
    ],
)
async def test_what_cannot_be_made_is_an_error(answer: str, error: str) -> None:
    text = block("template IN A . {", f'answer "{answer}"', "}")
    reply = await ask(Bench().configure(text), "x.test.")
    assert reply.rcode == 2
    assert reply.error.startswith(error)


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["template IN {", "}"], 2, "Wrong argument count"),
        (["template XX A {", "}"], 2, "invalid query class XX"),
        (["template IN XX {", "}"], 2, "invalid RR class XX"),
        (["template IN A {", "match", "}"], 3, "Wrong argument count"),
        (["template IN A {", "match (", "}"], 3, "could not parse regex: (, error parsing regexp"),
        (["template IN A {", "rcode WRONG", "}"], 3, "unknown rcode WRONG"),
        (["template IN A {", 'answer "{{ .Nope }}"', "}"], 3, "could not compile template: {{ .No"),
        (["template IN A {", 'answer "{{ printf .Name }}"', "}"], 3, "could not compile template"),
        (["template IN A {", 'answer "{{ .Name"', "}"], 3, "could not compile template: {{ .Name,"),
        (["template IN A {", "ederror 21", "}"], 3, "ederror of the template plugin is not there"),
        (["template IN A {", "colour red", "}"], 3, "unknown property 'colour'; known are: match"),
    ],
)
def test_what_is_refused(lines: list[str], line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block(*lines))
    assert f"Corefile:{line} - Error during parsing: {says}" in str(caught.value)


async def test_types_without_a_name_are_counted_together() -> None:
    bench = Bench()
    made = bench.configure(block("template IN ANY . {", 'answer "{{ .Name }} 1 A 10.0.0.1"', "}"))
    # Else a stranger could make 65,000 series.
    for kind in ("A", "TYPE65280", "TYPE65281"):
        await ask(made, "x.test.", kind)
    assert counts(bench) == {"A": 1.0, "": 2.0}


async def test_replies_that_are_kept_are_counted_too() -> None:
    bench = Bench()
    made = bench.configure(block("template IN A . {", 'answer "{{ .Name }} 1 A 10.0.0.1"', "}"))
    (server,) = made.servers.values()
    packet = question_packet(7, Question("x.test.", 1))
    for _ in range(2):
        await server.door.answer(packet, ("10.244.1.5", 40000), "udp")
    for _ in range(3):
        assert server.door.kept("udp")(packet[2:]) is not None
    assert counts(bench) == {"A": 5.0}


def counts(bench: Bench) -> dict[str, float]:
    """Return the number of matches by type."""
    found = re.findall(
        r'coredns_template_matches_total\{.*type="(\w*)".*\} (\d+)', bench.process.metrics.text()
    )
    return {kind: float(number) for kind, number in found}
