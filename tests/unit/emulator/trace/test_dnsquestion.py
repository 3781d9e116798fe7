# pyright: basic, reportAttributeAccessIssue=false
import pytest
from dnslib import QTYPE, DNSRecord

from podwire.emulator.trace.dnsquestion import Question, encode, kind_of, parse, reverse_name
from podwire.errors import UsageError

LONG = "a" * 63


@pytest.mark.parametrize("kind", ["A", "AAAA", "SRV", "PTR", "TXT", "ANY", "TYPE65280"])
@pytest.mark.parametrize("datagram", [0, 512, 1232])
def test_a_query_as_dnslib_reads_it(kind: str, datagram: int) -> None:
    query = DNSRecord.parse(encode(Question("Web.shop.", kind), 4711, datagram=datagram))
    assert query.header.id == 4711
    assert (query.header.qr, query.header.rd, query.header.opcode) == (0, 1, 0)
    assert str(query.q.qname) == "Web.shop."
    assert str(QTYPE.get(query.q.qtype)) == kind.removeprefix("TYPE")
    assert [(rr.rtype, rr.rclass) for rr in query.ar] == [(41, datagram)] * bool(datagram)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        (".", b"\0"),
        ("a.b", b"\1a\1b\0"),
        ("a\\.b.c.", b"\3a.b\1c\0"),
        ("a\\255.c.", b"\2a\xff\1c\0"),
        ("a\\\\.b", b"\2a\\\1b\0"),
        ("a\\.", b"\2a.\0"),
        (f"{LONG}.{LONG}.{LONG}.{'a' * 61}.", None),
    ],
)
def test_names_on_the_wire(name: str, wire: bytes | None) -> None:
    query = encode(Question(name), 7, datagram=0)
    assert wire is None or query[12:-4] == wire
    assert len(query[12:-4]) <= 255


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("a..b", "a label is empty"),
        (".a", "a label is empty"),
        ("a..", "a label is empty"),
        ("a\\300.b", "is no escape"),
        ("a\\25.b", "is no escape"),
        ("a\\", "is no escape"),
        (f"{LONG}a.b", "a label has 64 bytes"),
        (f"{LONG}.{LONG}.{LONG}.{'a' * 62}", "it has 256 bytes"),
        ("münchen.example", "xn--"),
    ],
)
def test_what_is_no_name(name: str, because: str) -> None:
    with pytest.raises(UsageError, match=because):
        encode(Question(name), 7)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("a", "A"),
        ("srv", "SRV"),
        ("any", "ANY"),
        ("axfr", None),
        ("TYPE28", "AAAA"),
        ("type65280", "TYPE65280"),
        ("TYPE65536", None),
        ("TYPE", None),
        ("web-svc", None),
        ("OPT", None),
    ],
)
def test_types(word: str, kind: str | None) -> None:
    assert kind_of(word) == kind


@pytest.mark.parametrize(
    ("name", "kind", "asked"),
    [
        ("10.96.0.10", "PTR", "10.0.96.10.in-addr.arpa."),
        ("10.96.0.10", "A", "10.96.0.10"),
        ("a.b", "ptr", "a.b"),
    ],
)
def test_questions_of_a_user(name: str, kind: str, asked: str) -> None:
    assert parse(name, kind).name == asked


@pytest.mark.parametrize(
    ("address", "name"),
    [("10.96.0.10", "10.0.96.10.in-addr.arpa."), ("::1", f"1.{'0.' * 31}ip6.arpa.")],
)
def test_reverse_names(address: str, name: str) -> None:
    assert reverse_name(address) == name


def test_what_is_no_address() -> None:
    with pytest.raises(UsageError, match="web-svc"):
        reverse_name("web-svc")
