"""The built-in DNS client against servers of this machine."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from podwire.emulator.trace import ask
from podwire.emulator.trace.dnsquestion import Question, encode
from tests.unit.dns_server import NOERROR, REFUSED, SERVFAIL, TRUNCATED, reply, serving

Json = dict[str, Any]


def query(name: str, kind: str = "A", number: int = 1) -> str:
    return encode(Question(name, kind), number, datagram=0).hex()


@pytest.fixture
def carried_out(capsys: pytest.CaptureFixture[str]) -> Callable[..., Json]:
    def carry_out(*rounds: list[str], **order: Any) -> Json:
        words = {"timeout": 2.0, "servers": ["127.0.0.1"], "rounds": rounds} | order
        assert ask.main([json.dumps(words)], {}) == 0
        found: Json = json.loads(capsys.readouterr().out)
        return found

    return carry_out


CarriedOut = Callable[..., Json]
PAIR = [query("a.", "A", 1), query("a.", "AAAA", 2)]


def test_the_queries_of_a_round_go_out_at_once(carried_out: CarriedOut) -> None:
    held = list[bytes]()

    def both(packet: bytes, number: int) -> bytes | None:
        held.append(packet)
        return None if number == 1 else reply(packet, answers=1)

    with serving(both) as server:
        report = carried_out(PAIR, port=server.port, timeout=0.5)
    first, second = report["rounds"][0]
    assert len(held) == 2
    assert (first["reply"], first["error"]) == (None, "no reply")
    assert second["reply"].startswith("00028100")
    assert (second["transport"], second["server"], second["tries"]) == ("UDP", "127.0.0.1", 1)
    assert "ms" in second


# What glibc 2.36 was seen to ask for a name with a search list of three, and then alone.
@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("NXDOMAIN, NXDOMAIN, NXDOMAIN, NXDOMAIN", [0, 1, 2, 3]),
        ("NXDOMAIN, data", [0, 1]),
        ("data", [0]),
        ("NODATA, NODATA, NXDOMAIN, data", [0, 1, 2, 3]),
        ("SERVFAIL, SERVFAIL, SERVFAIL, SERVFAIL", [0, 1, 2, 3]),
        ("REFUSED, REFUSED", [0, 3]),
        ("FORMERR, FORMERR", [0, 3]),
        ("nothing, nothing", [0, 3]),
        ("NXDOMAIN, nothing, data", [0, 1, 3]),
    ],
)
def test_which_round_comes_next(carried_out: CarriedOut, said: str, asked: list[int]) -> None:
    codes = {"FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
    words = said.split(", ")

    def answer(packet: bytes, number: int) -> bytes | None:
        word = words[number - 1]
        if word == "nothing":
            return None
        return reply(packet, codes.get(word, NOERROR), answers=int(word == "data"))

    with serving(answer) as server:
        rounds = [[query(f"{name}.")] for name in "abcd"]
        report = carried_out(*rounds, port=server.port, alone=3, timeout=0.5)
    assert report["numbers"] == asked
    assert len(report["rounds"]) == len(asked)


def test_where_nobody_is_no_other_name_is_tried(carried_out: CarriedOut) -> None:
    report = carried_out([query("a.")], [query("b.")], port=unused_port(), alone=1)
    assert report["numbers"] == [0]


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_no_data_is_no_answer(carried_out: CarriedOut) -> None:
    with serving(lambda packet, _: reply(packet)) as server:
        report = carried_out([query("a.")], [query("b.")], port=server.port)
    assert len(report["rounds"]) == 2


@pytest.mark.parametrize(("persist", "tries"), [(True, 2), (False, 1)])
def test_a_failure_is_asked_about_again_as_glibc_does(
    carried_out: CarriedOut,
    persist: bool,  # noqa: FBT001 - a column of the table
    tries: int,
) -> None:
    with serving(lambda packet, _: reply(packet, SERVFAIL)) as server:
        report = carried_out([query("a.")], port=server.port, attempts=2, persist=persist)
    (found,) = report["rounds"][0]
    assert found["tries"] == tries
    assert found["reply"]


def test_after_a_failure_comes_the_next_server(carried_out: CarriedOut) -> None:
    with (
        serving(lambda packet, _: reply(packet, REFUSED)) as first,
        serving(lambda packet, _: reply(packet, answers=1), at="127.0.0.2", port=first.port),
    ):
        servers = ["127.0.0.1", "127.0.0.2"]
        report = carried_out([query("a.")], port=first.port, servers=servers)
    (found,) = report["rounds"][0]
    assert (found["server"], found["tries"]) == ("127.0.0.2", 2)


def test_silence_is_met_with_another_attempt(carried_out: CarriedOut) -> None:
    def second(packet: bytes, number: int) -> bytes | None:
        return reply(packet, answers=1) if number == 2 else None

    with serving(second) as server:
        report = carried_out([query("a.")], port=server.port, attempts=2, timeout=0.5)
    (found,) = report["rounds"][0]
    assert (found["tries"], found["error"]) == (2, "")
    # The first attempt was waited for as well.
    assert found["ms"] > 400


def test_what_is_truncated_is_asked_for_over_tcp(carried_out: CarriedOut) -> None:
    with serving(
        lambda packet, _: reply(packet, flags=TRUNCATED),
        lambda packet, _: reply(packet, answers=3),
    ) as server:
        report = carried_out(PAIR, port=server.port)
    for found in report["rounds"][0]:
        assert (found["transport"], found["error"]) == ("TCP", "")
        assert found["cut"] == len(found["reply"]) // 2
        assert 0 < found["ms"] <= report["ms"]


def test_a_truncated_answer_is_kept_if_tcp_fails(carried_out: CarriedOut) -> None:
    with serving(
        lambda packet, _: reply(packet, flags=TRUNCATED), lambda _packet, _: None
    ) as server:
        report = carried_out([query("a.")], port=server.port)
    (found,) = report["rounds"][0]
    assert (found["transport"], bool(found["reply"])) == ("UDP", True)
    assert found["error"] == "the server closed the connection"


def test_tcp_alone(carried_out: CarriedOut) -> None:
    with serving(lambda _packet, _: None, lambda packet, _: reply(packet, answers=1)) as server:
        report = carried_out(PAIR, port=server.port, tcp=True)
    assert [found["transport"] for found in report["rounds"][0]] == ["TCP", "TCP"]


def test_nobody_there(carried_out: CarriedOut) -> None:
    report = carried_out([query("a.")], port=unused_port())
    (found,) = report["rounds"][0]
    assert (found["reply"], found["error"]) == (None, "connection refused")


def test_a_reply_to_another_question_is_none(carried_out: CarriedOut) -> None:
    with serving(lambda packet, _: b"\xff\xff" + reply(packet)[2:]) as server:
        report = carried_out([query("a.")], port=server.port, timeout=0.3)
    assert report["rounds"][0][0]["error"] == "no reply"


def test_without_rounds_it_tells_of_resolv_conf_only(carried_out: CarriedOut) -> None:
    report = carried_out()
    assert report["rounds"] == []
    assert isinstance(report["resolv"], str)
