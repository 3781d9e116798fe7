"""The stanza of forward: what it says, and what is wrong with it, by the line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.corefile import parse as parse_corefile
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Rcode
from podwire.dns.parts.forward_options import ForwardOptions, HealthCheck, parse
from podwire.dns.parts.upstream import Connecting, Upstream


def stanza(text: str) -> Stanza:
    (block,) = parse_corefile(f"example.org {{\n{text}\n}}\n", read=no_files)
    return Stanza(block.directives[0], ("example.org.",))


def no_files(pattern: str, importer: str) -> list[tuple[str, str]]:
    raise AssertionError(f"{importer} imports {pattern}")


ONE = Upstream("192.0.2.1")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("forward . 192.0.2.1", {}),
        ("forward . dns://192.0.2.1 192.0.2.1:53", {}),
        ("forward Example.COM 192.0.2.1", {"zone": "example.com."}),
        ("forward 10.9.0.0/16 192.0.2.1", {"zone": "9.10.in-addr.arpa."}),
        ("forward . 192.0.2.1 [2001:db8::1]:5353 resolv.conf",
         {"upstreams": (ONE, Upstream("2001:db8::1", 5353), Upstream("192.0.2.8"),
                        Upstream("192.0.2.9"))}),
        ("forward . 192.0.2.1 {\n except a.org B.org\n except c.org\n}",
         {"exceptions": ("a.org.", "b.org.", "c.org.")}),
        ("forward . 192.0.2.1 {\n policy sequential\n}", {"policy": "sequential"}),
        ("forward . 192.0.2.1 {\n max_fails 0\n}", {"max_fails": 0}),
        ("forward . 192.0.2.1 {\n max_connect_attempts 3\n}", {"max_attempts": 3}),
        ("forward . 192.0.2.1 {\n max_concurrent 1000\n}", {"max_concurrent": 1000}),
        ("forward . 192.0.2.1 {\n health_check 1s\n}", {"health": HealthCheck(interval=1.0)}),
        ("forward . 192.0.2.1 {\n health_check 1s no_rec domain Example.org\n}",
         {"health": HealthCheck(interval=1.0, wants_recursion=False, domain="example.org.")}),
        ("forward . 192.0.2.1 {\n expire 15s\n max_age 1m\n max_idle_conns 5\n}",
         {"connecting": Connecting(expire=15.0, max_age=60.0, most_idle=5)}),
        ("forward . 192.0.2.1 {\n source_address 192.0.2.7\n}",
         {"connecting": Connecting(source="192.0.2.7")}),
        ("forward . 192.0.2.1 {\n force_tcp\n prefer_udp\n}", {"force_tcp": True, "prefer_udp": True}),
        ("forward . 192.0.2.1 {\n read_timeout 500ms\n}", {"read_timeout": 0.5}),
        ("forward . 192.0.2.1 {\n failfast_all_unhealthy_upstreams\n}", {"fails_fast": True}),
        ("forward . 192.0.2.1 {\n next nxdomain SERVFAIL\n next_on_nodata\n}",
         {"next_codes": frozenset({Rcode.NXDOMAIN, Rcode.SERVFAIL}), "next_on_nodata": True}),
        ("forward . 192.0.2.1 {\n failover Refused\n failover ServFail\n}",
         {"failover_codes": frozenset({Rcode.REFUSED, Rcode.SERVFAIL})}),
    ],
)  # fmt: skip
def test_stanza(text: str, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.8\nnameserver 192.0.2.9\n")
    wanted = replace(ForwardOptions(upstreams=(ONE,)), **options)
    assert parse(stanza(text), tmp_path) == wanted


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("forward", 2, "Wrong argument count"),
        ("forward .", 2, "Wrong argument count"),
        ("forward " + 64 * "x" + " 192.0.2.1", 2, f"unable to normalize '{64 * 'x'}'"),
        ("forward . nosuch.conf", 2, "not an IP address or file: 'nosuch.conf' (No such file"),
        ("forward . empty.conf", 2, "no valid upstream addresses found"),
        ("forward . tls://192.0.2.1", 2, "'tls' is not supported as a destination protocol"),
        ("forward . https://192.0.2.1", 2, "'https' is not supported as a destination protocol"),
        ("forward . " + "192.0.2.1 " * 16, 2, "more than 15 TOs configured: 16"),
        ("forward . 192.0.2.1 {\n except\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n policy first\n}", 3, "unknown policy 'first'; known are: random"),
        ("forward . 192.0.2.1 {\n max_fails -1\n}", 3, "-1 is not in range"),
        ("forward . 192.0.2.1 {\n max_fails many\n}", 3, "'many' is no whole number"),
        ("forward . 192.0.2.1 {\n max_concurrent\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n max_concurrent -4\n}", 3, "max_concurrent can't be negative: -4"),
        ("forward . 192.0.2.1 {\n health_check\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n health_check 1s rec\n}", 3, "unknown option rec"),
        ("forward . 192.0.2.1 {\n health_check 1s domain\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n health_check 1s domain a..b\n}", 3, "invalid domain name a..b"),
        ("forward . 192.0.2.1 {\n expire soon\n}", 3, "invalid duration"),
        ("forward . 192.0.2.1 {\n expire 1m\n max_age 1s\n}", 2, "must not be less than expire"),
        ("forward . 192.0.2.1 {\n read_timeout 0s\n}", 3, "read_timeout must be positive"),
        ("forward . 192.0.2.1 {\n force_tcp yes\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n next\n}", 3, "Wrong argument count"),
        ("forward . 192.0.2.1 {\n next NOWHERE\n}", 3, "NOWHERE is not a valid rcode"),
        ("forward . 192.0.2.1 {\n failover noerror\n}", 3, "NoError cannot be used in failover"),
        ("forward . 192.0.2.1 {\n tls\n}", 3, "tls is not supported here"),
        ("forward . 192.0.2.1 {\n source_address eth0\n}", 3, "invalid IP address: eth0"),
        ("forward . 192.0.2.1 {\n nosuch\n}", 3, "unknown property 'nosuch'; known are: except"),
    ],
)
def test_stanza_errors(text: str, line: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty.conf").write_text("search example.org\n")
    with pytest.raises(CorefileError) as caught:
        parse(stanza(text), tmp_path)
    assert str(caught.value).startswith(f"Corefile:{line} - Error during parsing: ")
    assert message in str(caught.value)
