# pyright: basic, reportAttributeAccessIssue=false
import pytest
from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RR, SRV, TXT, A, DNSRecord

from podwire.emulator.trace.dnsmessage import decode

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
        (reply("TXT", RR(NAME, QTYPE.TXT, rdata=TXT("hi"))), "TXT (3 bytes)"),
        (reply("MX", RR(NAME, QTYPE.MX, rdata=MX("m.", 5))), "MX (5 bytes)"),
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
