# pyright: basic, reportAttributeAccessIssue=false
import pytest
from dnslib import AAAA, CNAME, EDNS0, MX, PTR, QTYPE, RR, SOA, SRV, TXT, A, DNSRecord

from podwire.emulator.trace.dnsmessage import DnsMessage, Edns, Record, decode, of_stream

NAME = "web.default.svc.cluster.local."


def question(kind: str) -> DNSRecord:
    message = DNSRecord.question(NAME, kind)
    message.header.id = 7  # dnslib rolls dice, and a test's name must not change
    return message


def reply(kind: str, *records: RR, rcode: int = 0) -> bytes:
    message = question(kind).reply()
    message.header.rcode = rcode
    for record in records:
        message.add_answer(record)
    return bytes(message.pack())


@pytest.mark.parametrize(
    ("payload", "summary"),
    [
        (bytes(question("AAAA").pack()), f"AAAA? {NAME}"),
        (reply("A", RR(NAME, QTYPE.A, rdata=A("10.96.14.7"))), "A 10.96.14.7"),
        (
            reply(
                "A",
                RR(NAME, QTYPE.CNAME, rdata=CNAME("b.example.")),
                RR("b.example.", QTYPE.A, rdata=A("1.2.3.4")),
            ),
            "CNAME b.example., A 1.2.3.4",
        ),
        (reply("AAAA", RR(NAME, QTYPE.AAAA, rdata=AAAA("fd00::1"))), "AAAA fd00::1"),
        (reply("PTR", RR(NAME, QTYPE.PTR, rdata=PTR("c."))), "PTR c."),
        (reply("SRV", RR(NAME, QTYPE.SRV, rdata=SRV(0, 50, 80, "c."))), "SRV 0 50 80 c."),
        (reply("TXT", RR(NAME, QTYPE.TXT, rdata=TXT("hi"))), 'TXT "hi"'),
        (reply("MX", RR(NAME, QTYPE.MX, rdata=MX("m.", 5))), "MX 5 m."),
        (reply("AAAA"), f"NODATA (AAAA) {NAME}"),
        (reply("A", rcode=3), f"NXDOMAIN {NAME}"),
        (reply("A", rcode=2), f"SERVFAIL {NAME}"),
    ],
)
def test_summaries(payload: bytes, summary: str) -> None:
    message = decode(payload)
    assert message is not None
    assert message.summary() == summary
    assert message.name == NAME


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"podwire\n",
        bytes(12),
        b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",  # a name that points at itself
        reply("A", RR(NAME, QTYPE.A, rdata=A("10.96.14.7")))[:-2],
    ],
)
def test_what_is_no_dns_message(payload: bytes) -> None:
    assert decode(payload) is None


def whole(kind: str = "A", *, code: int = 0, size: int = 1232) -> bytes:
    """Return an answer with something in each section."""
    message = question(kind).reply(aa=1, ra=0)
    message.header.rcode = code & 15
    message.add_answer(RR(NAME, QTYPE.A, rdata=A("10.96.14.7"), ttl=30))
    numbers = (7, 7200, 1800, 86400, 30)
    soa = SOA("ns.dns.cluster.local.", "hostmaster.cluster.local.", numbers)
    message.add_auth(RR("cluster.local.", QTYPE.SOA, rdata=soa, ttl=30))
    message.add_ar(RR("a.b.", QTYPE.AAAA, rdata=AAAA("fd00::1"), ttl=5))
    message.add_ar(EDNS0(udp_len=size, ext_rcode=code >> 4, flags="do"))
    return bytes(message.pack())


def test_sections_flags_and_edns() -> None:
    message = decode(whole())
    assert message is not None
    assert message.flags == ("qr", "aa", "rd")
    assert message.edns == Edns(1232, dnssec_ok=True)
    assert message.answers == (Record(NAME, "A", "10.96.14.7", 30),)
    soa = "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30"
    assert message.authority == (Record("cluster.local.", "SOA", soa, 30),)
    assert message.extra == (Record("a.b.", "AAAA", "fd00::1", 5),)


def test_the_code_has_its_upper_bits_in_the_opt_record() -> None:
    message = decode(whole(code=16))
    assert message is not None
    assert message.rcode == "BADVERS"


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (reply("A", RR(NAME, QTYPE.A, rdata=A("10.96.14.7"))), "NOERROR"),
        (reply("AAAA"), "NODATA"),
        (reply("A", RR(NAME, QTYPE.CNAME, rdata=CNAME("b.example."))), "NODATA"),
        (reply("CNAME", RR(NAME, QTYPE.CNAME, rdata=CNAME("b.example."))), "NOERROR"),
        (reply("A", rcode=3), "NXDOMAIN"),
        (reply("A", rcode=5), "REFUSED"),
    ],
)
def test_status(payload: bytes, status: str) -> None:
    message = decode(payload)
    assert message is not None
    assert message.status == status


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x03a.b\x00", "a\\.b."),
        (b"\x03a b\x00", "a\\032b."),
        (b"\x02\xff\x00\x00", "\\255\\000."),
        (b"\x00", "."),
    ],
)
def test_odd_bytes_of_names_are_written_as_in_a_zone_file(wire: bytes, text: str) -> None:
    header = b"\0\7\1\0\0\1\0\0\0\0\0\0"
    message = decode(header + wire + b"\0\1\0\1")
    assert message is not None
    assert message.name == text


def test_messages_of_a_tcp_stream() -> None:
    first, second = whole(), reply("AAAA")
    stream = b"".join(len(m).to_bytes(2, "big") + m for m in (first, second, first))

    def kinds(data: bytes) -> list[str]:
        found: tuple[DnsMessage, ...] = of_stream(data)
        return [message.kind for message in found]

    assert kinds(stream) == ["A", "AAAA", "A"]
    assert kinds(stream[:-1]) == ["A", "AAAA"]
    assert kinds(stream[:1]) == []
    assert kinds(b"\0\3abc" + stream) == []
