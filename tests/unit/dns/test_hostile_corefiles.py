"""Corefiles cut, mixed and mangled: they are served, or refused with file and line."""

import random
import re

import pytest

from podwire.dns.corefile.corefile import CorefileError
from tests.unit.dns.corefiles import Bench

GOOD = """\
(common) {
    errors {
        consolidate 5m ".* timeout$" warning show_first
    }
    log . {combined} {
        class denial error
    }
}
.:53 a.test, 10.0.0.0/23:54 {
    import common
    bind lo eth0 {
        except ::1
    }
    health :8080 {
        lameduck 5s
    }
    ready :8181 {
        monitor continuously
    }
    kubernetes cluster.local in-addr.arpa {
        pods verified
        labels app in (a, b),!c
        fallthrough in-addr.arpa
        ttl 30
        zonal
    }
    autopath @kubernetes
    k8s_external out.test {
        apex dns
        headless
    }
    transfer cluster.local {
        to * 10.0.0.1:53
    }
    rewrite name regex (.*)\\.x\\.test {1}.y.test answer auto
    rewrite continue ttl suffix y.test 5-10
    rewrite edns0 local set 0xffee 0x61626364
    template IN A y.test {
        match "^ip-(?P<a>[0-9]+)[.]"
        answer "{{ .Name }} 60 IN A 10.0.0.{{ index .Match 1 }}"
        rcode NOERROR
        fallthrough
    }
    hosts /nonexistent b.test {
        10.0.0.1 x.b.test
        ttl 60
        fallthrough
    }
    prometheus :9153
    forward . 10.0.0.1 {
        max_concurrent 1000
        policy sequential
    }
    cache 30 {
        disable denial cluster.local
    }
    chaos v me
    bufsize 1232
    reload 10s 5s
    loadbalance
}
"""
WHERE = re.compile(r"\S+:\d+ - Error during parsing: \S")


def mangled(dice: random.Random) -> str:
    """Return the good file with a few words or characters gone, doubled, moved or changed."""
    pieces = re.split(r"(\s+)" if dice.random() < 0.7 else r"()", GOOD)
    for _ in range(dice.randrange(1, 6)):
        if not pieces:
            break
        at = dice.randrange(len(pieces))
        match dice.randrange(5):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(at, dice.choice(pieces))
            case 2:
                pieces[at] = dice.choice(("{", "}", '"', "#", "\n", "-1", "a" * 70, "{$X}", "\0é"))
            case 3:
                other = dice.randrange(len(pieces))
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case _:
                pieces = pieces[: at + 1] if dice.random() < 0.2 else pieces
    return "".join(pieces)


def test_the_good_file_is_good() -> None:
    Bench().configure(GOOD)


@pytest.mark.parametrize("seed", range(10))
def test_every_error_says_where(seed: int) -> None:
    dice = random.Random(seed)
    errors = [error for _ in range(30) if (error := refusal(mangled(dice)))]
    assert errors
    assert [error for error in errors if not WHERE.match(error)] == []


def refusal(text: str) -> str:
    """Return why a Corefile is refused; empty: it is served."""
    try:
        Bench().configure(text)
    except CorefileError as error:
        return str(error)
    return ""


def test_deep_braces_are_refused() -> None:
    with pytest.raises(CorefileError, match="nested more than 10 deep"):
        Bench().configure(". {\n" + "errors {\n" * 5000)
