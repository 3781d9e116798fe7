"""Corefiles -> servers: where blocks listen, for which zones, with which plugins."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from podwire.dns.chain import ORDER
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.imports import read_import
from podwire.dns.registry import GATHERED, PLUGINS
from tests.unit.dns.corefiles import Bench, answers, ask, block, shown

Zones = Mapping[tuple[str, int], list[str]]


def zones(text: str) -> Zones:
    """Return the zones of a Corefile by the place where they are served."""
    servers = Bench().configure(text).servers
    return {
        place: [zone for one in server.blocks for zone in one.zones]
        for place, server in servers.items()
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".", {("", 53): ["."]}),
        (".:5353", {("", 5353): ["."]}),
        (":5353", {("", 5353): ["."]}),
        ("dns://A.test", {("", 53): ["a.test."]}),
        ("dns://a.test.:54", {("", 54): ["a.test."]}),
        ("a.test b.test:54 {\n}", {("", 53): ["a.test."], ("", 54): ["b.test."]}),
        ("a.test {\n}\nb.test {\n}", {("", 53): ["a.test.", "b.test."]}),
        ("10.0.0.0/15", {("", 53): ["0.10.in-addr.arpa.", "1.10.in-addr.arpa."]}),
        ("10.0.0.0/24:54", {("", 54): ["0.0.10.in-addr.arpa."]}),
        ("2001:db8::/32", {("", 53): ["8.b.d.0.1.0.0.2.ip6.arpa."]}),
        ("2001:db8::/32:54", {("", 54): ["8.b.d.0.1.0.0.2.ip6.arpa."]}),
    ],
)
def test_zones_and_ports(text: str, expected: Zones) -> None:
    assert zones(text) == expected


@pytest.mark.parametrize(
    ("lines", "addresses"),
    [
        ([], [""]),
        (["bind 127.0.0.1"], ["127.0.0.1"]),
        (["bind 127.0.0.1 ::1"], ["127.0.0.1", "::1"]),
        (["bind 127.0.0.1", "bind ::1 127.0.0.1"], ["127.0.0.1", "::1"]),
        (["bind eth0"], ["10.244.0.2", "fe80::1%eth0"]),
        (
            ["bind lo eth0 {", "except 127.0.0.1 fe80::1", "}"],
            ["::1", "10.244.0.2", "fe80::1%eth0"],
        ),
        (["bind lo eth0 {", "except lo", "}"], ["10.244.0.2", "fe80::1%eth0"]),
    ],
)
def test_addresses(lines: list[str], addresses: list[str]) -> None:
    assert zones(block(*lines)) == {(address, 53): ["."] for address in addresses}


@pytest.mark.parametrize(
    ("lines", "own"),
    [
        # Only what others can reach, unless somebody asks for the rest.
        ([], ["10.244.0.2"]),
        (["bind 127.0.0.1"], ["127.0.0.1"]),
        (["bind 10.244.0.2 fd00::2"], ["10.244.0.2", "fd00::2"]),
    ],
)
async def test_a_server_knows_its_own_addresses(lines: list[str], own: list[str]) -> None:
    configuration = Bench().configure(block(*lines, "kubernetes cluster.local"))
    server = next(iter(configuration.servers.values()))
    (plugin,) = server.blocks[0].plugins
    options = getattr(plugin, "options")  # noqa: B009 - of the one plugin there is
    assert options.own_addresses == tuple(ip_address(address) for address in own)


async def test_the_closest_zone_answers() -> None:
    text = "".join(
        f'{zone} {{\ntemplate ANY ANY . {{\nanswer "x. 1 TXT {n}"\n}}\n}}\n'
        for n, zone in enumerate((".", "test", "a.test"))
    )
    for name, expected in (("x.a.test.", 2), ("A.TEST.", 2), ("ba.test.", 1), ("x.", 0)):
        assert (await answers(text, name))[1].endswith(f'TXT "{expected}"')


async def test_plugins_stand_in_their_order_whatever_the_corefile_says() -> None:
    configuration = Bench().configure(block("whoami", "hosts", "log", "errors", "template IN A"))
    names = [plugin.name for plugin in configuration.servers["", 53].blocks[0].plugins]
    assert names == ["errors", "log", "template", "hosts", "whoami"]
    assert [plugin.name for plugin in configuration.plugins] == names


async def test_plugins_of_all_blocks_start_in_that_order() -> None:
    configuration = Bench().configure("a.test {\nwhoami\nerrors\n}\nb.test {\nwhoami\nlog\n}")
    assert [p.name for p in configuration.plugins] == ["errors", "log", "whoami", "whoami"]


def test_every_plugin_has_its_place() -> None:
    assert {*PLUGINS, *GATHERED} <= set(ORDER)


async def test_nothing_behind_the_last_plugin_is_an_error() -> None:
    reply = await ask(Bench().configure(block("errors")), "a.test.")
    assert shown(reply) == ["SERVFAIL"]
    assert reply.error == "no next plugin found"


def test_the_lame_duck_is_the_longest() -> None:
    text = block("health :8080 {", "lameduck 5s", "}") + "a.test {\nhealth :8081\n}\n"
    assert Bench().configure(text).lameduck == 5


async def test_files_are_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "machines").write_text("10.0.0.1 a.test")
    bench = Bench(folder=tmp_path)
    for text in (block("root sub", "hosts machines"), block("hosts sub/machines")):
        configuration = bench.configure(text)
        async with configuration.plugins[-1].run():
            assert len((await ask(configuration, "a.test.")).answer) == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "there is no server block"),
        ("# nothing\n", 1, "there is no server block"),
        (block("errors", "foobar"), 3, "Unknown directive 'foobar'; known are: any, autopath, bin"),
        (
            block("kubernets a"),
            2,
            "Unknown directive 'kubernets'; did you mean kubernetes? Known are",
        ),
        (block("acl"), 2, "Unknown directive 'acl'; known are: any, "),
        (".:70000", 1, ".:70000: '70000' is no port number"),
        (".:dns", 1, ".:dns: 'dns' is no port number"),
        ("a.test:", 1, 'expecting data after last colon: "a.test:"'),
        ("tls://.", 1, "tls://.: the scheme tls is known, but only dns is served here"),
        ("gopher://.", 1, "gopher://.: the scheme gopher is not known"),
        ("a..test", 1, "zone is not a valid domain name: a..test"),
        ("a" * 300, 1, "specified zone is too long: 300 > 255"),
        ("a.test a.test {\n}", 1, "cannot serve dns://a.test.:53 - it is already defined"),
        (
            "a.test {\n}\n\nA.test.:53 {\n}",
            4,
            "cannot serve dns://a.test.:53 - it is already defined in line 1",
        ),
        (
            ". {\nbind 127.0.0.1\n}\n. {\nbind 127.0.0.1\n}",
            4,
            "cannot serve dns://.:53 on 127.0.0.1 - it is already defined in line 1",
        ),
        (
            ". {\n}\n. {\nbind 127.0.0.1\n}",
            3,
            "cannot serve dns://.:53 on 127.0.0.1 - zone overlap listener capacity with dns://.:53",
        ),
        (
            ". {\nbind ::1\n}\n. {\n}",
            4,
            "cannot serve dns://.:53 - zone overlap listener capacity with dns://.:53 on ::1",
        ),
        (block("bind"), 2, "at least one address or interface name is expected"),
        (block("bind eth7"), 2, 'not a valid IP address or interface name: "eth7"; interfaces ar'),
        (block("bind lo {", "except", "}"), 3, "at least one address or interface must be given"),
        (block("bind lo {", "only ::1", "}"), 3, "unknown property 'only'; known are: except"),
        (block("bind ::1 {", "except ::1", "}"), 1, "bind: no address is left to listen on"),
        (block("root"), 2, "Wrong argument count"),
        (block("cache", "errors", "cache"), 4, "cache: this plugin can only be used once per Ser"),
        (block("whoami x"), 2, "Wrong argument count or unexpected line ending after 'x'"),
        (block("whoami {", "x", "}"), 3, "unknown property 'x': whoami has none"),
        (block("loadbalance weighted f"), 2, "policy weighted is not there; known is: round_r"),
        (block("loadbalance odd"), 2, "unknown policy: odd; known is: round_robin"),
        (block("loadbalance round_robin 2"), 2, "Wrong argument count"),
        (block("bufsize 100"), 2, "100 is not in range [512, 4096]"),
        (block("bufsize 600 700"), 2, "Wrong argument count"),
        (block("bufsize 1_000"), 2, "'1_000' is no whole number"),
        (block("health 8080"), 2, "'8080' is no address with a port"),
        (block("health {", "lameduck", "}"), 3, "Wrong argument count"),
        (block("health {", "lameduck 5", "}"), 3, 'invalid duration "5"'),
        (block("ready {", "monitor now", "}"), 3, "monitor type 'now' not supported; known are"),
        (block("reload 1s"), 2, "interval value must be greater or equal to 2s"),
        (block("reload 10s 500ms"), 2, "jitter value must be 0 or greater or equal to 1s"),
        (block("reload 10s 5s 1s"), 2, "Wrong argument count"),
        (block("transfer"), 2, "'to' is required"),
        (block("transfer {", "to", "}"), 3, "Wrong argument count"),
        (block("transfer {", "to everybody", "}"), 3, 'not an IP address: "everybody"'),
        (block("transfer {", "to *", "from x", "}"), 4, "unknown property 'from'; known are: to"),
        (block("autopath"), 2, "no resolv-conf specified"),
        (block("autopath @erratic"), 2, "erratic does not implement the AutoPather interface"),
        (block("autopath nowhere"), 2, 'failed to parse "nowhere"'),
        (block("k8s_external x.test {", "ttl 4000", "}"), 3, "ttl must be in range [0, 3600]: 40"),
    ],
)
def test_what_is_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(text)
    assert f"Corefile:{line} - Error during parsing: {says}" in str(caught.value)


KUBERNETES = """
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
"""
FORWARD = "    forward . resolv.conf\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            ".:53 {\n    errors\n    health\n    ready\n"
            + KUBERNETES
            + """
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30 {
      disable success cluster.local
      disable denial cluster.local
    }
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
"""
            + FORWARD
            + "}\nimport /etc/coredns/custom/*.server\n",
            id="k3s",
        ),
        pytest.param(
            ".:53 {\n    log\n    errors\n    health {\n       lameduck 5s\n    }\n    ready\n"
            + KUBERNETES
            + """
    prometheus :9153
    hosts {
       192.168.49.1 host.minikube.internal
       fallthrough
    }
    forward . resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
""",
            id="minikube",
        ),
        pytest.param(
            ".:53 {\n    errors\n    ready\n    health\n"
            + KUBERNETES
            + """
    prometheus :9153
    forward . resolv.conf
    cache 30
    loop
    reload
    loadbalance
    import custom/*.override
    template ANY ANY internal.cloudapp.net {
      match "^(?:[^.]+\\.){4,}internal\\.cloudapp\\.net\\.$"
      rcode NXDOMAIN
      fallthrough
    }
    template ANY ANY reddog.microsoft.com {
      rcode NXDOMAIN
    }
}
import custom/*.server
""",
            id="aks",
        ),
        pytest.param(
            """
# a zone of our own
corp:5353 {
    prometheus 127.0.0.1:9153
    forward corp 192.0.2.1 {
        policy random
    }
    errors
    log . {
        class error
    }
    bufsize 1232
    cache 900 {
        denial 9984 30
    }
}
.:5353 {
    bufsize 1232
    errors
    log . {
        class error
    }
    health {
        lameduck 20s
    }
    ready
"""
            + KUBERNETES
            + """
    prometheus 127.0.0.1:9153
    forward . resolv.conf {
        policy sequential
    }
    cache 900 {
        denial 9984 30
    }
    reload
}
hostname.bind:5353 {
    chaos
}
""",
            id="openshift",
        ),
    ],
)
def test_corefiles_of_distributions(tmp_path: Path, text: str) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    assert Bench(folder=tmp_path).configure(text).plugins


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("one.conf", ["one.conf"]),
        ("*.conf", ["one.conf", "two.conf"]),
        ("sub/*.conf", ["sub/three.conf"]),
        ("*/three.conf", ["sub/three.conf"]),
        ("t?o.conf", ["two.conf"]),
        ("*.none", []),
    ],
)
def test_imports_are_relative_to_who_imports(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("one.conf", "two.conf", "sub/three.conf"):
        (tmp_path / name).write_text(name)
    read = read_import(pattern, str(tmp_path / "Corefile"))
    assert [(Path(name).relative_to(tmp_path).as_posix(), text) for name, text in read] == [
        (name, name) for name in found
    ]


def test_imports_with_many_wildcards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only contain one wildcard"):
        read_import("*/*.conf", str(tmp_path / "Corefile"))


def test_errors_of_imported_files_name_them(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("errors\nwhoami {\n   x\n}\n")
    with pytest.raises(CorefileError) as caught:
        Bench(folder=tmp_path).configure(block("import more"))
    assert str(caught.value).startswith(f"{tmp_path / 'more'}:3 - Error during parsing: unknown")
