"""Corefiles served by the real program, in a network of its own, and asked by dig."""

import re
import shutil
from typing import Any

import pytest

from tests.needs import lack
from tests.system.dns import inside, serving

Json = dict[str, Any]

PLUGINS = """\
(common) {
    errors
    log
}
. {
    import common
    rewrite name suffix .outer.test .inner.test answer auto
    rewrite ttl short.inner.test 5
    template IN A inner.test {
        match ^ip-(?P<a>\\d+)-(\\d+)-(\\d+)-(?P<d>\\d+)[.]
        answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ index .Match 2 }}.{{ index .Match 3 }}.{{ .Group.d }}"
        fallthrough
    }
    hosts machines {
        10.9.9.9 inline.inner.test
        ttl 30
        fallthrough
    }
    chaos podwire-test
    bufsize 1232
    whoami
}
any.test {
    any
    whoami
}
"""


@pytest.fixture(autouse=True)
def dig() -> None:
    if not shutil.which("dig"):
        lack("these tests ask with dig: apt install bind9-dnsutils")


def test_plugins() -> None:
    expected = {
        "ip-10-1-2-3.outer.test A": ["NOERROR", "ip-10-1-2-3.outer.test. 60 IN A 10.1.2.3"],
        "inline.outer.test A": ["NOERROR", "inline.outer.test. 30 IN A 10.9.9.9"],
        "file.inner.test A": ["NOERROR", "file.inner.test. 30 IN A 10.8.8.8"],
        "-x 10.8.8.8": ["NOERROR", "8.8.8.10.in-addr.arpa. 30 IN PTR file.inner.test."],
        "file.inner.test AAAA": ["NOERROR"],
        "version.bind TXT CH": ["NOERROR", 'version.bind. 0 CH TXT "podwire-test"'],
        "x.any.test ANY +notcp": [
            "NOERROR",
            'x.any.test. 8482 IN HINFO "ANY obsoleted" "See RFC 8482"',
        ],
        "other.test A": ["NOERROR", "other.test. 0 IN A 127.0.0.1"],
        "other.test A +tcp": ["NOERROR", "_tcp.other.test. 0 IN SRV 0 0"],
    }
    asked = {
        "corefile": PLUGINS,
        "files": {"machines": "10.8.8.8 file.inner.test\n"},
        "questions": list(expected),
    }
    seen: list[str] = inside.play(serving.serve, asked)
    for question, answer in zip(expected, seen, strict=True):
        for line in expected[question]:
            assert line in answer, f"{question}:\n{answer}"


@pytest.mark.parametrize(
    ("bind", "here", "there"),
    [
        ("", "NOERROR", "NOERROR"),
        ("bind lo", "NOERROR", "NOERROR"),
        (f"bind {serving.OTHER}", "no reply", "NOERROR"),
        (f"bind lo {{\n except {serving.OTHER}\n}}", "NOERROR", "no reply"),
    ],
)
def test_where_it_listens(bind: str, here: str, there: str) -> None:
    asked = {
        "corefile": f".:5353 {{\n{bind}\nwhoami\n}}\n. {{\nwhoami\n}}\n",
        "questions": [f"@{address} -p 5353 a.test" for address in ("127.0.0.1", serving.OTHER)],
    }
    seen: list[str] = inside.play(serving.serve, asked)
    assert [answer.partition("\n")[0] for answer in seen] == [here, there]


def answering(address: str, *lines: str) -> str:
    body = "\n".join((f'template IN A . {{\nanswer "a.test. 1 A {address}"\n}}', *lines))
    return f". {{\nerrors\n{body}\n}}\n"


def test_reloading() -> None:
    steps: list[Json] = [
        {"corefile": answering("10.0.0.1")},
        {"corefile": answering("10.0.0.2")},
        {"corefile": answering("10.0.0.3"), "signal": True, "waits_for": "Reloading complete"},
        {"corefile": answering("10.0.0.4", "wrong"), "signal": True, "waits_for": "failed"},
        {
            "corefile": answering("10.0.0.5", "reload 2s 0"),
            "signal": True,
            "waits_for": "Reloading complete",
        },
        {"corefile": answering("10.0.0.6", "reload 2s 0"), "waits_for": "Reloading complete"},
    ]
    *seen, end = inside.play(serving.reload, steps)
    # Nobody looks at the file without a signal, and a broken one changes nothing.
    addresses = [step["answer"].rpartition(" ")[2] for step in seen]
    assert addresses == [f"10.0.0.{n}" for n in (1, 1, 3, 3, 5, 6)]
    assert "Corefile:6 - Error during parsing: Unknown directive 'wrong'" in seen[3]["log"]
    assert end == {"status": 0}


@pytest.mark.parametrize(
    ("corefile", "said"),
    [
        (". {\nfoobar\n}\n", r"Corefile:2 - Error during parsing: Unknown directive 'foobar'"),
        (". {\nerrors\n", r"Corefile:2 - Error during parsing: Unexpected EOF"),
        (". {\nk8s_external a.test\n}\n", r"Corefile:2 - .* kubernetes plugin not loaded"),
        (". {\nbind 192.0.2.200\nwhoami\n}\n", r"cannot listen on 192\.0\.2\.200 port 53"),
    ],
)
def test_what_cannot_be_served(corefile: str, said: str) -> None:
    seen: Json = inside.play(serving.refused, corefile)
    assert seen["status"] in (64, 69)
    assert re.search(rf"^\[ERROR\] .*{said}", seen["log"], re.MULTILINE), seen["log"]
