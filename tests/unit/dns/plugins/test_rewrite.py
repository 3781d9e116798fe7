"""rewrite: what is asked for instead, and what the client sees of that."""

from collections.abc import Sequence

import pytest

from podwire.dns.corefile.corefile import CorefileError
from tests.unit.dns.corefiles import Bench, answers, ask, block

ZONE = (
    "template IN A inner.test {",
    'answer "{{ .Name }} 60 IN A 192.0.2.1"',
    "}",
    "template IN MX inner.test {",
    'answer "{{ .Name }} 60 IN MX 10 mail.{{ .Name }}"',
    "}",
    "template IN SRV inner.test {",
    'answer "{{ .Name }} 60 IN SRV 0 0 80 www.inner.test."',
    'additional "www.inner.test. 7 IN A 192.0.2.2"',
    "}",
    "template IN TXT inner.test {",
    "rcode NXDOMAIN",
    'authority "inner.test. 60 IN SOA ns.inner.test. hm.inner.test. (1 2 3 4 5)"',
    "}",
    "template ANY ANY broken.test {",
    "rcode SERVFAIL",
    "}",
)


async def seen(rules: Sequence[str], name: str, kind: str = "A") -> list[str]:
    return await answers(block(*rules, *ZONE), name, kind)


@pytest.mark.parametrize(
    ("rule", "name", "owner"),
    [
        ("name a.test www.inner.test", "A.test.", "a.test."),
        ("name exact a.test. www.inner.test.", "a.test.", "a.test."),
        ("stop name exact a.test www.inner.test", "a.test.", "a.test."),
        ("name prefix www. ftp.", "www.inner.test.", "ftp.inner.test."),
        ("name prefix www ftp", "www.inner.test.", "ftp.inner.test."),
        ("name prefix www. ftp. answer auto", "www.inner.test.", "www.inner.test."),
        ("name suffix .outer.test .inner.test", "www.outer.test.", "www.inner.test."),
        ("name suffix .outer.test .inner.test answer auto", "www.outer.test.", "www.outer.test."),
        ("name substring outer. inner.", "www.outer.test.", "www.inner.test."),
        ("name substring outer. inner. answer auto", "www.outer.test.", "www.outer.test."),
        (
            r"name regex (.*)\.(o)uter\.test {1}-{2}.inner.test",
            "www.outer.test.",
            "www-o.inner.test.",
        ),
        (
            r"name regex (.*)\.outer\.test {1}.inner.test answer auto",
            "www.outer.test.",
            "www.outer.test.",
        ),
        (
            r"name regex (.*)\.outer\.test {1}.inner.test answer name (.*)\.inner\.test {1}.x.test",
            "www.outer.test.",
            "www.x.test.",
        ),
        ("NAME EXACT a.test www.inner.test", "a.test.", "a.test."),
    ],
)
async def test_names(rule: str, name: str, owner: str) -> None:
    assert await seen([f"rewrite {rule}"], name) == ["NOERROR aa", f"{owner} 60 A 192.0.2.1"]


async def test_the_whole_rule_may_stand_in_braces() -> None:
    rule = (
        "rewrite stop {",
        r"name regex (.*)\.outer\.test {1}.inner.test",
        r"answer name (.*)\.inner\.test {1}.outer.test",
        "}",
    )
    assert await seen(rule, "www.outer.test.") == ["NOERROR aa", "www.outer.test. 60 A 192.0.2.1"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["name a.test b.test", "name b.test www.inner.test"], ["SERVFAIL"]),
        (
            ["continue name a.test b.test", "name b.test www.inner.test"],
            ["NOERROR aa", "a.test. 60 A 192.0.2.1"],
        ),
        (
            ["continue name a.test www.inner.test", "ttl www.inner.test 5"],
            ["NOERROR aa", "a.test. 5 A 192.0.2.1"],
        ),
        (
            ["name other.test b.test", "name a.test www.inner.test"],
            ["NOERROR aa", "a.test. 60 A 192.0.2.1"],
        ),
    ],
)
async def test_stop_and_continue(rules: list[str], expected: list[str]) -> None:
    assert await seen([f"rewrite {rule}" for rule in rules], "a.test.") == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("name a.test inner.test", "a.test. 60 MX 10 mail.a.test."),
        (
            r"name suffix a.test inner.test answer value mail\.(.*)\. post.{1}",
            "inner.test. 60 MX 10 post.inner.test.",
        ),
        ("name suffix a.test inner.test answer auto", "a.test. 60 MX 10 mail.a.test."),
    ],
)
async def test_what_records_lead_to(rule: str, expected: str) -> None:
    assert await seen([f"rewrite {rule}"], "a.test.", "MX") == ["NOERROR aa", expected]


async def test_additional_records_go_with_their_targets() -> None:
    rule = "rewrite name suffix .outer.test .inner.test answer auto"
    assert await seen([rule], "x.outer.test.", "SRV") == [
        "NOERROR aa",
        "x.outer.test. 60 SRV 0 0 80 www.outer.test.",
        "additional: www.outer.test. 7 A 192.0.2.2",
    ]


async def test_a_soa_is_renamed_too() -> None:
    rule = "rewrite name suffix outer.test inner.test answer auto"
    assert await seen([rule], "outer.test.", "TXT") == [
        "NXDOMAIN aa",
        "authority: outer.test. 60 SOA ns.outer.test. hm.inner.test. 1 2 3 4 5",
    ]


@pytest.mark.parametrize(
    ("rule", "kind", "expected"),
    [
        ("type AAAA A", "AAAA", ["NOERROR aa", "www.inner.test. 60 A 192.0.2.1"]),
        ("type any a", "ANY", ["NOERROR aa", "www.inner.test. 60 A 192.0.2.1"]),
        ("ttl www.inner.test 5", "A", ["NOERROR aa", "www.inner.test. 5 A 192.0.2.1"]),
        ("ttl suffix inner.test 30-50", "A", ["NOERROR aa", "www.inner.test. 50 A 192.0.2.1"]),
        ("ttl regex .* 90-", "A", ["NOERROR aa", "www.inner.test. 90 A 192.0.2.1"]),
        ("ttl substring inner. -7", "A", ["NOERROR aa", "www.inner.test. 7 A 192.0.2.1"]),
        ("ttl prefix ftp. 7", "A", ["NOERROR aa", "www.inner.test. 60 A 192.0.2.1"]),
        ("edns0 nsid set", "A", ["NOERROR aa", "www.inner.test. 60 A 192.0.2.1"]),
    ],
)
async def test_other_rules(rule: str, kind: str, expected: list[str]) -> None:
    assert await seen([f"rewrite {rule}"], "www.inner.test.", kind) == expected


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("rcode a.broken.test SERVFAIL NXDOMAIN", "NXDOMAIN"),
        ("rcode suffix broken.test 2 3", "NXDOMAIN"),
        ("rcode regex .* SERVFAIL NOERROR", "NOERROR"),
        ("rcode a.broken.test NXDOMAIN NOERROR", "SERVFAIL"),
    ],
)
async def test_codes(rule: str, code: str) -> None:
    assert await seen([f"rewrite {rule}"], "a.broken.test.") == [code]


async def test_an_alias_sent_elsewhere() -> None:
    text = block(
        "rewrite cname exact cdn.test. www.inner.test.",
        "template IN A alias.test {",
        'answer "{{ .Name }} 60 IN CNAME cdn.test."',
        "}",
        *ZONE,
    )
    assert await answers(text, "alias.test.") == [
        "NOERROR aa",
        "alias.test. 60 CNAME www.inner.test.",
        "www.inner.test. 60 A 192.0.2.1",
    ]


async def test_a_name_that_cannot_be_is_an_error() -> None:
    configuration = Bench().configure(block("rewrite name a.test a..test", *ZONE))
    reply = await ask(configuration, "a.test.")
    assert (reply.rcode, reply.error) == (2, "invalid name after rewrite: a..test.")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "no rule type specified for rewrite"),
        ("stop", "stop rule must begin with a rule type"),
        ("nothing a b", 'invalid rule type "nothing"; known are: name, type'),
        ("answer name a b", "response rewrites must begin with a name rule"),
        ("class CH IN", "class rules are not there"),
        ("name a", "too few arguments for a name rule"),
        ("name fuzzy a b", "name rule supports only exact, prefix, suffix, substring, and regex"),
        ("name regex (a b", "error parsing regexp"),
        ("name regex a {1}", "the rewrite regex pattern ({1}.) uses more subexpressions"),
        ("name regex (?=a) b", "error parsing regexp: invalid or unsupported Perl syntax"),
        ("name exact a b c", "invalid arguments for exact rule"),
        ("name exact a b c d", "exceeded the number of arguments for a non-answer rule"),
        ("name exact a b answer other", 'invalid type "other" for answer rule for exact rule'),
        ("name exact a b answer name x", "name answer rule for exact rule: 2 arguments required"),
        ("name regex a b answer auto answer name x y", "auto name answer rule cannot be combined"),
        ("type A", "type rules must have exactly two arguments"),
        ("type A NOTYPE", 'invalid type "NOTYPE"'),
        ("ttl a", "too few (1) arguments for a ttl rule"),
        ("ttl a soon", "invalid TTL 'soon' for a ttl rule"),
        ("ttl a -", "invalid TTL '-' for a ttl rule"),
        ("ttl a 9-3", "invalid TTL '9-3' for a ttl rule"),
        ("ttl fuzzy a 3", "ttl rule supports only exact"),
        ("rcode a SERVFAIL", "too few (2) arguments for a rcode rule"),
        ("rcode a WRONG NOERROR", "invalid matching RCODE 'WRONG' for a rcode rule"),
        ("rcode a NOERROR 99", "invalid replacement RCODE '99' for a rcode rule"),
        ("cname a", "too few (1) arguments for a cname rule"),
        ("edns0 local", "too few arguments for an EDNS0 rule"),
        ("edns0 local add 0xffee x", 'invalid action: "add"; known are: append, replace, set'),
        ("edns0 local set 0xffee 0xzz", 'invalid data: "0xzz"'),
        ("edns0 local set many x", 'invalid code: "many"'),
        ("edns0 local set 0xffee {qname}", "variables in edns0 rules are not there"),
        ("edns0 subnet set 24 56", 'invalid rule type "subnet" of edns0; known are: local, nsid'),
    ],
)
def test_what_is_refused(rule: str, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block("errors", f"rewrite {rule}"))
    assert f"Corefile:3 - Error during parsing: {says}" in str(caught.value)
