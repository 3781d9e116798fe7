"""The stanza of cache: what it says, and what is wrong with it, by the line."""

from dataclasses import replace
from typing import Any

import pytest

from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.corefile import parse as parse_corefile
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.parts.cache_options import CacheOptions, Limits, Prefetch, Stale, parse

Json = dict[str, Any]


def stanza(text: str) -> Stanza:
    (block,) = parse_corefile(f"example.org {{\n{text}\n}}\n", read=no_files)
    return Stanza(block.directives[0], ("example.org.",))


def no_files(pattern: str, importer: str) -> list[tuple[str, str]]:
    raise AssertionError(f"{importer} imports {pattern}")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("cache", {}),
        ("cache 30", {"success": Limits(30), "denial": Limits(30)}),
        ("cache example.net", {"zones": ("example.net.",)}),
        ("cache 30 10.0.0.0/8", {"success": Limits(30), "denial": Limits(30),
                                 "zones": ("10.in-addr.arpa.",)}),
        ("cache 10 {\n success 10\n}", {"success": Limits(10, capacity=10), "denial": Limits(10)}),
        ("cache {\n success 10 1800 30\n denial 10 15 2\n}",
         {"success": Limits(1800, 30, 10), "denial": Limits(15, 2, 10)}),
        ("cache {\n prefetch 10\n}", {"prefetch": Prefetch(10)}),
        ("cache {\n prefetch 10 5m 20%\n}", {"prefetch": Prefetch(10, 300.0, 20)}),
        ("cache {\n serve_stale\n}", {"stale": Stale()}),
        ("cache {\n serve_stale 20m IMMEDIATE\n}", {"stale": Stale(1200.0)}),
        ("cache {\n serve_stale 1h immediate 30s 10s\n}", {"stale": Stale(3600.0, ttl=30, recheck=10.0)}),
        ("cache {\n serve_stale 1h verify 1s 30s 10s\n}",
         {"stale": Stale(3600.0, verifies=True, patience=1.0, ttl=30, recheck=10.0)}),
        ("cache {\n serve_stale\n serve_stale_policy prefer_positive\n}",
         {"stale": Stale(), "prefers_positive": True}),
        ("cache {\n servfail 1m\n}", {"failure": 60.0}),
        ("cache {\n servfail 0\n}", {"failure": 0.0}),
        ("cache {\n disable success\n disable denial Example.NET b.org\n}",
         {"success_disabled": (".",), "denial_disabled": ("example.net.", "b.org.")}),
        ("cache {\n keepttl\n}", {"keeps_ttl": True}),
    ],
)  # fmt: skip
def test_stanza(text: str, options: Json) -> None:
    assert parse(stanza(text)) == replace(CacheOptions(zones=("example.org.",)), **options)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("cache 0", 2, "cache TTL can not be zero or negative: 0"),
        ("cache -1", 2, "cache TTL can not be zero or negative: -1"),
        ("cache {\n success\n}", 3, "Wrong argument count"),
        ("cache {\n success a\n}", 3, "'a' is no whole number"),
        ("cache {\n success 10 0\n}", 3, "zero or negative"),
        ("cache {\n success 10 5 -1\n}", 3, "-1 is not in range"),
        ("cache {\n prefetch\n}", 3, "Wrong argument count"),
        ("cache {\n prefetch -1\n}", 3, "-1 is not in range"),
        ("cache {\n prefetch 1 1m 20\n}", 3, "last character of percentage"),
        ("cache {\n prefetch 1 1m 95%\n}", 3, "range [10, 90]: 95"),
        ("cache {\n serve_stale -20m\n}", 3, "invalid duration"),
        ("cache {\n serve_stale 20m quickly\n}", 3, "refresh mode: quickly; known are: immediate"),
        ("cache {\n serve_stale 20m immediate 1s 1s 1s\n}", 3, "Wrong argument count"),
        ("cache {\n serve_stale 20m immediate 1500ms\n}", 3, "whole number of seconds"),
        ("cache {\n serve_stale 20m immediate 1s 6m\n}", 3, "exceed 5 minutes"),
        ("cache {\n serve_stale 1h immediate 4294967296s\n}", 3, "exceeds the DNS TTL range"),
        ("cache {\n prefetch 0 blurp\n}", 3, "invalid duration"),
        ("cache {\n serve_stale_policy prefer_positive\n}", 2, "requires serve_stale"),
        ("cache {\n servfail 6m\n}", 3, "over 5 minutes is not permitted"),
        ("cache {\n servfail 1\n}", 3, "invalid duration"),
        ("cache {\n disable\n}", 3, "Wrong argument count"),
        ("cache {\n disable both\n}", 3, "cache type for disable must be"),
        ("cache {\n keepttl 5\n}", 3, "Wrong argument count"),
        ("cache {\n keepttl\n nosuch\n}", 4, "unknown property 'nosuch'; known are: success"),
    ],
)
def test_stanza_errors(text: str, line: int, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        parse(stanza(text))
    assert str(caught.value).startswith(f"Corefile:{line} - Error during parsing: ")
    assert message in str(caught.value)
