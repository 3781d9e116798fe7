"""Lines as zone files have them -> records."""

import pytest

from podwire.dns.messages.zone_line import name, record_of, seconds
from tests.unit.dns.zone_text import record_text


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("a.test. 60 IN A 10.0.0.1", "a.test. 60 A 10.0.0.1"),
        ("a.test IN 60 A 10.0.0.1", "a.test. 60 A 10.0.0.1"),
        ("a.test. in a 10.0.0.1", "a.test. 3600 A 10.0.0.1"),
        ("a.test. A 10.0.0.1 ; why not", "a.test. 3600 A 10.0.0.1"),
        ("a.test. 1h30m AAAA fd00::1", "a.test. 5400 AAAA fd00::1"),
        ("a.test. 1 CNAME B.test", "a.test. 1 CNAME B.test."),
        ("a.test. 1 NS .", "a.test. 1 NS ."),
        ("1.0.0.10.in-addr.arpa. 1 PTR a.test.", "1.0.0.10.in-addr.arpa. 1 PTR a.test."),
        ("a.test. 1 MX 10 mail.test.", "a.test. 1 MX 10 mail.test."),
        ("a.test. 1 SRV 1 2 3 t.test.", "a.test. 1 SRV 1 2 3 t.test."),
        ("a.test. 1 SOA n.t. h.t. (1 2 3 1h 5)", "a.test. 1 SOA n.t. h.t. 1 2 3 3600 5"),
        ('a.test. 1 TXT "two words" bare ""', 'a.test. 1 TXT "two words" "bare" ""'),
        (r'a.test. 1 TXT "a \"b\" \; \065"', 'a.test. 1 TXT "a "b" ; A"'),
        ('a.test. 1 HINFO "x" "yz"', r"a.test. 1 HINFO \# 5 017802797a"),
        ('a.test. 1 CAA 0 issue "le"', r"a.test. 1 CAA \# 9 000569737375656c65"),
        (r"a.test. 1 TYPE65280 \# 2 abcd", r"a.test. 1 TYPE65280 \# 2 abcd"),
        (r"a.test. 1 DNAME b.t.", r"a.test. 1 TYPE39 \# 5 0162017400"),
        (r"a\.b.test. 1 A 10.0.0.1", r"a\046b.test. 1 A 10.0.0.1"),
        (r"a\040b.test. 1 A 10.0.0.1", r"a\040b.test. 1 A 10.0.0.1"),
        (r"*.test. 1 A 10.0.0.1", r"*.test. 1 A 10.0.0.1"),
    ],
)
def test_records(line: str, record: str) -> None:
    assert record_text(record_of(line)) == record


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "no record"),
        ("a.test.", "no record"),
        ("a.test. 60 IN", "'' is no record type"),
        ("a.test. 60 CH TXT x", "only class IN is served, not CH"),
        ("a.test. 60 IN ANY x", "only class IN is served, not ANY"),
        ("a.test. 60 IN NOPE x", "'NOPE' is no record type"),
        ("a.test. 60 IN A", "wrong number of words for A"),
        ("a.test. 60 IN A 10.0.0.1 10.0.0.2", "wrong number of words for A"),
        ("a.test. 60 IN A 10.0.0", "Expected 4 octets"),
        ("a.test. 60 IN AAAA 10.0.0.1", "At least 3 parts expected"),
        ("a.test. 60 IN MX x mail.", "'x' is no number up to 65535"),
        ("a.test. 60 IN SRV 1 2 65536 t.", "'65536' is no number up to 65535"),
        ("a.test. 60 IN TXT", "wrong number of words for TXT"),
        ("a.test. 60 IN TXT " + "x" * 256, "is longer than 255 bytes"),
        ('a.test. 60 IN TXT "open', "no record"),
        ("a.test. 60 IN HTTPS 1 .", "data of type HTTPS is only read as"),
        (r"a.test. 60 IN A \# 3 0a00", "the data has 2 bytes"),
        ("a..test. 60 IN A 10.0.0.1", "'a..test.' is no name"),
        ("a.test. 99999999999 IN A 10.0.0.1", "the TTL 99999999999 is too large"),
    ],
)
def test_what_is_no_record(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        record_of(line)


@pytest.mark.parametrize(
    ("text", "made"),
    [(".", "."), ("a", "a."), ("A.b.", "A.b."), (r"\(x", r"\040x."), (r"\255", r"\255.")],
)
def test_names(text: str, made: str) -> None:
    assert name(text) == made


@pytest.mark.parametrize("text", ["a..b", ".a", "x" * 64, ".".join(["abcdefg"] * 40), r"\256"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="name"):
        name(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("1w", 604800), ("1d2h3m4s", 93784), ("1H", 3600)]
)
def test_times(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "h", "1x", "-1"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no TTL"):
        seconds(text)
