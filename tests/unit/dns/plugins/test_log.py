"""log: which queries have a line, and what it says."""

import logging
import re
import struct

import pytest

from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.messages.message import Question, Reply, Transport
from podwire.dns.messages.wire import question_packet
from podwire.dns.parts.log_format import COMMON, Exchange, LogFormat
from tests.unit.dns.corefiles import Bench, block, kind_of, request

ANSWERS = (
    "template IN A yes.test {",
    'answer "{{ .Name }} 60 IN A 192.0.2.1"',
    "}",
    "template IN A no.test {",
    "rcode NXDOMAIN",
    "}",
    "template IN A empty.test {",
    'authority "empty.test. 60 IN SOA ns.empty.test. hm.empty.test. 1 2 3 4 5"',
    "}",
    "template IN A bad.test {",
    "rcode SERVFAIL",
    "}",
)
OPT = struct.pack("!BHHIH", 0, 41, 4096, 0x8000, 0)


async def lines(
    caplog: pytest.LogCaptureFixture,
    text: str,
    *names: str,
    client: str = "10.244.0.2",
    transport: Transport = "udp",
    opt: bytes = b"",
) -> list[str]:
    """Return what is in the log after the server has answered A queries for *names*."""
    caplog.set_level(logging.INFO, "podwire.dns")
    (server,) = Bench().configure(text).servers.values()
    for name in names:
        packet = bytearray(question_packet(51380, Question(name, kind_of("A"))))
        if opt:
            packet[11] = 1
        packet += opt
        assert list(await server.door.answer(bytes(packet), (client, 36620), transport))
    return [record.getMessage() for record in caplog.records]


async def test_the_common_line(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await lines(caplog, block("log", *ANSWERS), "WWW.yes.test.")
    assert re.fullmatch(
        r'10\.244\.0\.2:36620 - 51380 "A IN www\.yes\.test\. udp 30 false 512" '
        r"NOERROR qr,aa,rd 50 0(\.\d{1,9})?s",
        line,
    ), line


@pytest.mark.parametrize(
    ("transport", "opt", "shown"),
    [
        ("udp", b"", "udp 30 false 512"),
        ("tcp", b"", "tcp 30 false 65535"),
        ("udp", OPT, "udp 41 true 4096"),
        ("tcp", OPT, "tcp 41 true 65535"),
        ("udp", struct.pack("!BHHIH", 0, 41, 100, 0, 0), "udp 41 false 512"),
    ],
)
async def test_sizes(
    caplog: pytest.LogCaptureFixture, transport: Transport, opt: bytes, shown: str
) -> None:
    text = block('log . "{proto} {size} {>do} {>bufsize}"', *ANSWERS)
    assert await lines(caplog, text, "www.yes.test.", transport=transport, opt=opt) == [shown]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("{remote} {port} {local}", "[fd00::7] 36620 -"),
        ("{combined}", ' "0"'),
        ("{rcode} {rsize} {>rflags} {>opcode} {>id}", "NOERROR 46 qr,aa,rd 0 51380"),
        ("{/forward/upstream}|{nothing}|{type", "-|{nothing}|{type"),
        ("{ {name} }", "{ www.yes.test. }"),
        ("{common} and more", " and more"),
    ],
)
async def test_formats(caplog: pytest.LogCaptureFixture, form: str, shown: str) -> None:
    text = block(f'log . "{form}"', *ANSWERS)
    (line,) = await lines(caplog, text, "www.yes.test.", client="fd00::7")
    assert line == shown or (shown.startswith(" ") and line.endswith(shown)), line


async def test_the_address_that_a_server_is_bound_to(caplog: pytest.LogCaptureFixture) -> None:
    text = block("bind 127.0.0.1", 'log . "{local}"', *ANSWERS)
    assert await lines(caplog, text, "www.yes.test.") == ["127.0.0.1"]


ALL = ("a.yes.test.", "a.no.test.", "a.empty.test.", "a.bad.test.")


@pytest.mark.parametrize(
    ("rules", "logged"),
    [
        (['log . "{name}"'], ALL),
        (['log . "{name}" {', "class all", "}"], ALL),
        (['log . "{name}" {', "class success", "}"], ALL[:1]),
        (['log . "{name}" {', "class denial", "}"], ALL[1:3]),
        (['log . "{name}" {', "class denial error", "}"], ALL[1:]),
        (['log . "{name}" {', "class denial", "class error", "}"], ALL[1:]),
        (['log yes.test no.test "{name}"'], ALL[:2]),
        (['log no.test "{name}"', 'log . "{type}"'], ("A", "a.no.test.", "A", "A")),
        # The first rule whose names fit decides, even that nothing is logged.
        (['log no.test "{name}" {', "class error", "}", 'log . "{type}"'], ("A", "A", "A")),
    ],
)
async def test_what_is_logged(
    caplog: pytest.LogCaptureFixture, rules: list[str], logged: tuple[str, ...]
) -> None:
    assert tuple(await lines(caplog, block(*rules, *ANSWERS), *ALL)) == logged


async def test_each_query_is_logged_though_replies_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = block('log . "{name}" {', "class success", "}", *ANSWERS)
    name = "a.yes.test."
    assert await lines(caplog, text, name, name, "a.no.test.", name) == [name] * 3


@pytest.mark.parametrize(
    ("rules", "line", "says"),
    [
        (["log . {", "class", "}"], 3, "Wrong argument count"),
        (["log . {", "class some", "}"], 3, "invalid Class: some; known are: all, denial"),
        (["log . {", "colour red", "}"], 3, "unknown property 'colour'; known are: class"),
        (['log "{common}"'], 2, "a format needs names in front of it"),
    ],
)
def test_what_is_refused(rules: list[str], line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block(*rules))
    assert f"Corefile:{line} - Error during parsing: {says}" in str(caught.value)


def test_the_quick_way_says_the_same() -> None:
    for asked in (
        request("A.test.", "TYPE65280"),
        request("a.", client="fd00::1", transport="tcp"),
    ):
        exchange = Exchange(asked, Reply(rcode=3), bytes((0, 5, 0x85, 0x30, *bytes(20))), 0.00025)
        assert LogFormat(COMMON).line(exchange) + "!" == LogFormat(COMMON + "!").line(exchange)
