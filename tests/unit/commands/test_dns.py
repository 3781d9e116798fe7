# pyright: basic, reportAttributeAccessIssue=false
"""`podwire dns query` against a real API server, whose pods are processes of this machine."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from dnslib import QTYPE, RR, A, DNSRecord

from podwire.cli import main
from podwire.commands.dns import Words, wanted
from podwire.errors import UsageError
from podwire.kube.apply import apply
from podwire.kube.manifests import from_text
from tests.unit.dns_server import Behaviour, serving

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

POD = """
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  nodeName: node-1
  containers: [{name: c, image: busybox, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: web-svc}
spec: {ports: [{port: 80}]}
"""


@pytest.mark.parametrize(
    ("given", "reverse", "server", "means"),
    [
        ("web", "", "", Words("web")),
        ("web srv", "", "", Words("web", "SRV")),
        ("srv web", "", "", Words("web", "SRV")),
        ("any a", "", "", Words("any", "A")),
        ("a", "", "", Words("a")),
        ("web @10.0.0.1 txt", "", "", Words("web", "TXT", "10.0.0.1")),
        ("web", "", "10.0.0.1", Words("web", "", "10.0.0.1")),
        ("", "10.96.0.10", "", Words("10.0.96.10.in-addr.arpa.", "PTR")),
        ("ns", "10.96.0.10", "", Words("10.0.96.10.in-addr.arpa.", "NS")),
    ],
)
def test_words_as_dig_takes_them(given: str, reverse: str, server: str, means: Words) -> None:
    assert wanted(given.split(), reverse, server) == means


@pytest.mark.parametrize(
    ("given", "reverse", "server", "because"),
    [
        ("", "", "", "ask for what"),
        ("web foo", "", "", "neither 'web' nor 'foo' is a type"),
        ("web foo bar", "", "", "one name and one type"),
        ("cluster.local axfr", "", "", "podwire exec POD -- dig cluster.local AXFR"),
        ("web", "10.96.0.10", "", "either a name or -x"),
        ("", "web", "", "'web' is no address"),
        ("a..b", "", "", "a label is empty"),
        ("web @dns", "", "", "the server 'dns' is no address"),
        ("web @10.0.0.1", "", "10.0.0.2", "one server"),
        ("web +short +nope", "", "", r"\+short: --short, \+nope: there is none"),
    ],
)
def test_words_that_make_no_sense(given: str, reverse: str, server: str, because: str) -> None:
    with pytest.raises(UsageError, match=because):
        wanted(given.split(), reverse, server)


def test_the_empty_name_is_no_name() -> None:
    with pytest.raises(UsageError, match="the root is written"):
        wanted([""], "", "")


def answering(code: int, *addresses: str) -> Behaviour:
    def answer(packet: bytes, _number: int) -> bytes:
        query = DNSRecord.parse(packet)
        found = query.reply()
        found.header.rcode = code
        for address in addresses if query.q.qtype == QTYPE.A else ():
            found.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address), ttl=30))
        return bytes(found.pack())

    return answer


@pytest.fixture
def pod(api: "Api") -> "Api":
    with api.connection() as connection:
        apply(connection, from_text(POD))
    return api


def asked(api: "Api", behaviour: Behaviour, *words: str) -> int:
    """Return the exit status of a query from the pod, which is this machine."""
    with serving(behaviour) as server:
        where = ["--server", "127.0.0.1", "-p", str(server.port), "--timeout", "1"]
        return main(["dns", "query", *words, "--from", "client", *where, *api.options])


@pytest.mark.parametrize(
    ("words", "behaviour", "status", "said"),
    [
        (["a.example."], answering(0, "10.0.0.1"), 0, "a.example. 30    IN A 10.0.0.1"),
        (
            ["a.example.", "--short"],
            answering(0, "10.0.0.1", "10.0.0.2"),
            0,
            "10.0.0.1\n10.0.0.2\n",
        ),
        (["a.example.", "AAAA"], answering(0, "10.0.0.1"), 1, "status: NOERROR"),
        (["a.example.", "--tcp"], answering(0, "10.0.0.1"), 0, "(TCP)"),
        (["a.example."], answering(3), 1, "status: NXDOMAIN"),
        (["a.example."], answering(2), 2, "status: SERVFAIL"),
        (["a.example."], lambda _packet, _number: None, 124, ";; no server could be reached"),
        (["a.example.", "--walk"], answering(0, "10.0.0.1"), 0, "10.0.0.1 after 2 queries"),
        (["a.example.", "--walk", "--short"], answering(0, "10.0.0.1"), 0, "10.0.0.1\n"),
        (["a.example.", "TXT", "--walk"], answering(0), 1, "NODATA after 1 query"),
        (
            ["web-scv.default.svc.cluster.local"],
            answering(3),
            1,
            "there is no Service web-scv in namespace default; did you mean web-svc?",
        ),
    ],
)
def test_what_is_shown_and_returned(
    pod: "Api",
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    behaviour: Behaviour,
    status: int,
    said: str,
) -> None:
    assert asked(pod, behaviour, *words) == status
    assert said in capsys.readouterr().out


def test_json(pod: "Api", capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(pod, answering(0, "10.0.0.1"), "a.example.", "-o", "json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["status"] == "NOERROR"
    assert found["answer"] == [{"name": "a.example.", "ttl": 30, "type": "A", "value": "10.0.0.1"}]
    assert found["from"] == "default/client"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["web", "--from", "nobody"], 64, 'pods "nobody" not found'),
        (["web", "--from", "clinet"], 64, 'pods "clinet" not found; did you mean client?'),
        (["web", "--from", "client", "-n", "x"], 64, "did you mean default/client?"),
        (["web", "--from", "node/node-9"], 64, 'nodes "node-9" not found'),
        (["web"], 64, "no node is ready to ask"),
        (["web", "--from", "a/b/c"], 64, "names no place"),
        (["web", "--timeout", "soon", "--from", "client"], 64, "'soon' is no number"),
        (["web", "--port", "70000", "--from", "client"], 64, "70000 is no port"),
        (["web", "--port", "53s", "--from", "client"], 64, "53s is no port"),
        (["-x", "10.0.0.1", "--walk", "--from", "client"], 64, "nothing walks"),
    ],
)
def test_errors(
    pod: "Api", capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    assert main(["dns", "query", *words, *pod.options]) == status
    assert said in capsys.readouterr().err
