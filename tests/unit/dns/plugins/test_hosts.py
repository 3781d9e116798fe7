"""hosts: names from a file and from the Corefile."""

import asyncio
from pathlib import Path

import pytest

from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.messages.message import Reply
from podwire.dns.plugins.hosts import Hosts
from tests.unit.dns.corefiles import Bench, ask, block, plugin_of, shown

FILE = """\
# the machines of the test
127.0.0.1  localhost
10.0.0.1   One.corp.test one.other.test   # two names
10.0.0.2   one.corp.test
fd00::1    one.corp.test
fe80::1%eth0 link.corp.test
10.0.0.9   *.wild.corp.test
nonsense   x.corp.test
10.0.0.3
"""
NEXT = "whoami"
WENT_ON = ["went on"]


def seen(reply: Reply) -> list[str]:
    """Return what `shown` shows, or that the next plugin has answered."""
    return WENT_ON if reply.by == NEXT else shown(reply)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "machines").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (
            "ONE.corp.test.",
            "A",
            ["NOERROR aa", "one.corp.test. 3600 A 10.0.0.1", "one.corp.test. 3600 A 10.0.0.2"],
        ),
        ("one.corp.test.", "AAAA", ["NOERROR aa", "one.corp.test. 3600 AAAA fd00::1"]),
        ("one.corp.test.", "MX", ["NOERROR aa"]),
        ("link.corp.test.", "AAAA", ["NOERROR aa", "link.corp.test. 3600 AAAA fe80::1"]),
        ("link.corp.test.", "A", ["NOERROR aa"]),
        ("a.wild.corp.test.", "A", ["NOERROR aa", "a.wild.corp.test. 3600 A 10.0.0.9"]),
        ("a.b.wild.corp.test.", "A", ["SERVFAIL"]),
        ("wild.corp.test.", "A", ["SERVFAIL"]),
        ("x.corp.test.", "A", ["SERVFAIL"]),
        ("one.other.test.", "A", WENT_ON),
        (
            "1.0.0.10.in-addr.arpa.",
            "PTR",
            ["NOERROR aa", "1.0.0.10.in-addr.arpa. 3600 PTR one.corp.test."],
        ),
        ("9.0.0.10.in-addr.arpa.", "PTR", WENT_ON),
        ("10.in-addr.arpa.", "PTR", WENT_ON),
        ("1.0.0.10.in-addr.arpa.", "A", WENT_ON),
    ],
)
async def test_a_file(folder: Path, name: str, kind: str, expected: list[str]) -> None:
    bench = Bench(folder=folder)
    configuration = bench.configure(block("hosts machines corp.test", NEXT))
    async with plugin_of(configuration, "hosts").run():
        assert seen(await ask(configuration, name, kind)) == expected


@pytest.mark.parametrize(
    ("lines", "name", "kind", "expected"),
    [
        (["10.1.1.1 in.test"], "in.test.", "A", ["NOERROR aa", "in.test. 3600 A 10.1.1.1"]),
        (["10.1.1.1 in.test", "ttl 60"], "in.test.", "A", ["NOERROR aa", "in.test. 60 A 10.1.1.1"]),
        (["10.1.1.1 in.test"], "out.test.", "A", ["SERVFAIL"]),
        (["10.1.1.1 in.test", "fallthrough"], "out.test.", "A", WENT_ON),
        (["10.1.1.1 in.test", "fallthrough a.test"], "out.test.", "A", ["SERVFAIL"]),
        (["10.1.1.1 in.test", "fallthrough"], "in.test.", "AAAA", ["NOERROR aa"]),
        (["10.1.1.1 in.test", "fallthrough"], "in.test.", "MX", ["NOERROR aa"]),
        (
            ["10.1.1.1 in.test", "fallthrough", "fallthrough_unsupported"],
            "in.test.",
            "MX",
            WENT_ON,
        ),
        (
            ["10.1.1.1 in.test", "no_reverse"],
            "1.1.1.10.in-addr.arpa.",
            "PTR",
            WENT_ON,
        ),
        (
            ["10.1.1.1 in.test"],
            "1.1.1.10.in-addr.arpa.",
            "PTR",
            ["NOERROR aa", "1.1.1.10.in-addr.arpa. 3600 PTR in.test."],
        ),
    ],
)
async def test_lines_of_the_corefile(
    lines: list[str], name: str, kind: str, expected: list[str]
) -> None:
    text = block("hosts /nonexistent {", *lines, "}", NEXT)
    assert seen(await ask(Bench().configure(text), name, kind)) == expected


async def test_file_and_corefile_add_up(folder: Path) -> None:
    bench = Bench(folder=folder)
    text = block("hosts machines corp.test {", "10.0.0.7 one.corp.test", "}")
    configuration = bench.configure(text)
    async with plugin_of(configuration, "hosts").run():
        reply = await ask(configuration, "one.corp.test.")
        assert [str(record.data) for record in reply.answer] == ["10.0.0.1", "10.0.0.2", "10.0.0.7"]
        assert reply.lasting
        page = bench.process.metrics.text()
        # Two names of two addresses, one each of two more, a wild one, and 4 the other way round.
        assert f'coredns_hosts_entries{{hostsfile="{folder / "machines"}"}} 11' in page
        assert "coredns_hosts_reload_timestamp_seconds 1" in page


async def test_a_changed_file_is_read_again_and_kept_replies_go(folder: Path) -> None:
    bench = Bench(folder=folder)
    configuration = bench.configure(block("hosts machines {", "reload 1ms", "}"))
    revision = bench.process.sources.revision()
    async with plugin_of(configuration, "hosts").run():
        (folder / "new").write_text("10.0.0.5 new.corp.test\n")
        (folder / "new").replace(folder / "machines")
        while bench.process.sources.revision() == revision:
            await _a_moment()
        assert shown(await ask(configuration, "new.corp.test."))[1:] == [
            "new.corp.test. 3600 A 10.0.0.5"
        ]
        (folder / "machines").unlink()
        await _a_moment()
        assert len((await ask(configuration, "new.corp.test.")).answer) == 1


async def test_what_is_the_same_is_not_read_again(folder: Path) -> None:
    bench = Bench(folder=folder)
    configuration = bench.configure(block("hosts machines"))
    plugin = plugin_of(configuration, "hosts")
    assert isinstance(plugin, Hosts)
    async with plugin.run():
        assert not plugin.look()


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["ttl"], 3, "Wrong argument count"),
        (["ttl 0"], 3, "0 is not in range [1, 65535]"),
        (["ttl soon"], 3, "'soon' is no whole number"),
        (["reload"], 3, "Wrong argument count"),
        (["reload soon"], 3, 'invalid duration "soon"'),
        (["no_reverse really"], 3, "Wrong argument count"),
        (["colour red"], 3, "unknown property 'colour'; known are lines of a hosts file and: fall"),
        (["fallthrough", "10.0.0.1 a.test"], 4, "lines of hosts must stand in front of fallthr"),
        (["fallthrough_unsupported"], 2, "fallthrough_unsupported requires fallthrough"),
    ],
)
def test_what_is_refused(lines: list[str], line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block("hosts {", *lines, "}"))
    assert f"Corefile:{line} - Error during parsing: {says}" in str(caught.value)


async def _a_moment() -> None:
    await asyncio.sleep(0.002)
