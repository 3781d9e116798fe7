"""What proves nothing, what is told apart, and requests of several flows."""

from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.case import ClientReport

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

AFTER_BACK = (
    "took.web took.node-2 took.node sent.node sent.web ok.web ok.node-2 ok.tunnel ok.node ok.client"
)


def test_a_lossy_capture_proves_nothing(bench: "Bench") -> None:
    whole = bench.judge(bench.answered, dropped=3)
    assert (whole.word, whole.wrong) == ("inconclusive", None)
    assert whole.reason.startswith("the capture lost 3 packets (without that: confirmed")
    broken = bench.judge(bench.answered, without="ok.client", dropped=1)
    assert broken.word == "inconclusive"


BULK = "more  default/client eth0  10.96.14.7:80 > 10.244.1.5:40002  data and so on"
BULK_AT_NODE = BULK.replace("default/client eth0", "node-1 cni0")


def test_what_was_lost_of_the_bulk_changes_nothing(bench: "Bench") -> None:
    finding = bench.judge(bench.answered + BULK, dropped=900, whole_until="ok.client")
    assert (finding.word, finding.status) == ("confirmed", 200)
    assert finding.reason == "the capture lost 900 packets, all after the last hop"
    late = ClientReport(28, timed_out=True)
    finding = bench.judge(bench.answered + BULK, dropped=9, whole_until="more", report=late)
    assert (finding.word, finding.outcome) == ("refuted", "timed out")
    assert finding.reason.startswith("the answer began and did not end in time; the capture lost 9")


@pytest.mark.parametrize(
    ("without", "whole_until"),
    [
        ("", "ok.node"),  # the last hop is later
        ("", "ask.client"),
        ("ok.client", "more"),  # what is missing may be among what was lost
    ],
)
def test_what_was_lost_before_the_last_hop_proves_nothing(
    bench: "Bench", without: str, whole_until: str
) -> None:
    story = bench.answered + (BULK_AT_NODE if without else BULK)
    finding = bench.judge(story, without=without, dropped=900, whole_until=whole_until)
    assert finding.word == "inconclusive"


@pytest.mark.parametrize(("dropped", "word"), [(0, "refuted"), (900, "inconclusive")])
def test_the_arp_answer_may_be_among_what_was_lost(bench: "Bench", dropped: int, word: str) -> None:
    story = bench.answered.replace("10.244.2.6:80 ", "10.244.2.99:80 ")
    finding = bench.judge(
        story + "arp node-2 cni0  10.244.2.1 > 10.244.2.99  who-has\n" + BULK,
        without=f"back.web {AFTER_BACK}",
        snapshot=bench.cluster(bench.slice("default/web-svc", "10.244.2.99")),
        dropped=dropped,
        whole_until="more",
    )
    assert finding.word == word
    assert "nobody answers ARP for 10.244.2.99 on node-2 cni0" in finding.reason


@pytest.mark.parametrize(
    ("blind", "reason"),
    [
        ("default/client", "nothing was captured at default/client"),
        ("default/web-1", "answered, but nothing was captured at default/web-1"),
        ("node-2", "answered, but nothing was captured at node-2"),
    ],
)
def test_a_place_that_was_not_captured_proves_nothing(
    bench: "Bench", blind: str, reason: str
) -> None:
    finding = bench.judge(bench.answered, blind=blind)
    assert (finding.word, finding.reason) == ("inconclusive", reason)


def test_an_uncaptured_place_is_named_beside_what_was_lost(bench: "Bench") -> None:
    finding = bench.judge(bench.answered, without=AFTER_BACK, blind="default/web-1")
    assert finding.word == "refuted"
    assert finding.reason == (
        "node-2 eth0 got the request to 10.244.2.6:80 and did not answer"
        " (nothing was captured at default/web-1)"
    )


def test_a_client_that_sends_nothing_proves_nothing(bench: "Bench") -> None:
    said = ClientReport(exit_code=6, error="no route")
    assert bench.judge(bench.front, without="syn.client ack.client", report=said).reason == (
        "default/client sent nothing at all: no route"
    )
    finding = bench.judge(bench.lookup, report=said)
    assert finding.word == "inconclusive"
    assert finding.reason == "default/client sent nothing to web-svc:80/TCP: no route"


def test_two_requests_alike_are_told_apart_by_nothing(bench: "Bench") -> None:
    twin = bench.back.replace(":41002", ":41003").replace(
        "10.96.14.7:80 > 10.244.1.5:40002", "10.96.14.7:80 > 10.244.1.5:40009"
    )
    finding = bench.judge(bench.answered + twin)
    assert finding.word == "inconclusive"
    assert "node-1 carried the same bytes on 2 connections at once" in finding.reason


def test_two_requests_that_differ_are_told_apart_by_their_bytes(bench: "Bench") -> None:
    twin = bench.back.replace(":41002", ":41003").replace("GET / ", "GET /other ")
    assert bench.judge(bench.answered + twin.replace("40002", "40009")).word == "confirmed"


def test_a_repeated_question_belongs_to_its_own_port(bench: "Bench") -> None:
    first = "\n".join(bench.lookup.strip().splitlines()[:4]) + "\n"
    again = bench.lookup.replace(":40001", ":40005").replace(":41001", ":41005")
    rest = bench.front + bench.request + bench.back
    finding = bench.judge(first + again + rest)
    assert finding.word == "confirmed", finding.reason


def test_a_question_repeated_on_the_same_port(bench: "Bench") -> None:
    first = "\n".join(bench.lookup.strip().splitlines()[:4]) + "\n"
    other = first.replace(":41001", ":41005")
    again = bench.lookup.replace(":41001", ":41005")
    finding = bench.judge(first + other + again + bench.front + bench.request + bench.back)
    assert finding.word == "confirmed"
    assert finding.hops[0].packet is not None
    assert finding.hops[0].packet.number == 9, "the one that was answered"
    finding = bench.judge(first + other)
    assert finding.word == "refuted"
    assert finding.hops[0].packet is not None
    assert finding.hops[0].packet.number == 1, "the first one that was not answered"


def test_an_application_that_fails_is_no_fault_of_the_network(bench: "Bench") -> None:
    finding = bench.judge(bench.answered.replace("200 OK", "503 Busy"))
    assert (finding.word, finding.status) == ("confirmed", 503)
    assert finding.reason == "the application answered 503: the network did its part"


def test_an_answer_that_never_ends_is_refuted(bench: "Bench") -> None:
    report = ClientReport(exit_code=28, timed_out=True)
    finding = bench.judge(bench.answered, report=report)
    assert (finding.word, finding.outcome) == ("refuted", "timed out")
    assert finding.reason == "the answer began and did not end in time"


def test_pod_to_pod(bench: "Bench") -> None:
    story = (
        bench.back.replace("node-1 flannel.1 ", "default/client eth0 ")
        .replace("10.244.1.0:41002", "10.244.1.5:41002")
        .replace("ok.node ", "xx.node ")
    )
    story = "\n".join(line for line in story.splitlines() if "10.96." not in line)
    more = "\nok.client default/client eth0 10.244.2.6:80 > 10.244.1.5:41002 data HTTP/1.1 200 OK\\r\\n\\r\\n"
    assert bench.judge(story + more, to="http://10.244.2.6").word == "confirmed"
    rewritten = story.replace(
        "default/web-1 eth0        10.244.1.5:", "default/web-1 eth0        192.168.1.10:"
    )
    finding = bench.judge(rewritten + more, to="http://10.244.2.6")
    assert finding.word == "refuted"
    assert "never reached default/web-1" in finding.reason


def test_command_that_only_asks_names(bench: "Bench") -> None:
    assert bench.judge(bench.lookup, to="getent hosts web-svc").word == "confirmed"
    wrong = bench.lookup.replace("10.96.14.7", "10.96.0.99")
    assert bench.judge(wrong, to="getent hosts web-svc").word == "refuted"


def test_command_that_connects(bench: "Bench") -> None:
    assert bench.judge(bench.answered, to="wget http://web-svc").word == "confirmed"
    finding = bench.judge(bench.answered, without="ok.client", to="wget http://web-svc")
    assert finding.word == "refuted"


def second_flow(bench: "Bench") -> str:
    """Return the story of another request to the same Service, by the same client."""
    story = bench.front + bench.request + bench.back
    other = story.replace(":40002", ":40007").replace(":41002", ":41007")
    lines = other.replace("GET / ", "GET /b ").strip().splitlines()
    return "".join(f"second.{line}\n" for line in lines if line)


def test_command_with_two_flows_shows_both_in_order_of_time(bench: "Bench") -> None:
    both = bench.judge(bench.answered + second_flow(bench), to="curl http://web-svc http://a")
    assert both.word == "confirmed", both.reason
    one = bench.judge(bench.answered, to="curl http://web-svc")
    assert len(both.hops) == len(one.hops) + len([h for h in one.hops if h.leg == "request"])
    assert [hop.index for hop in both.hops] == list(range(1, len(both.hops) + 1))
    times = [hop.time_ns for hop in both.hops]
    assert times == sorted(times)


def test_two_flows_at_once_are_shown_in_order_of_time(bench: "Bench") -> None:
    first = bench.answered.strip().splitlines()
    second = second_flow(bench).strip().splitlines()
    at = len(bench.lookup.strip().splitlines())
    pairs = zip(filter(None, first[at:]), second, strict=True)
    woven = "\n".join([*first[:at], *(line for pair in pairs for line in pair)])
    finding = bench.judge(woven, to="curl http://web-svc http://a")
    times = [hop.time_ns for hop in finding.hops if hop.time_ns]
    assert times == sorted(times)
    assert {hop.src for hop in finding.hops} >= {"10.244.1.5:40002", "10.244.1.5:40007"}


@pytest.mark.parametrize(("lost", "port"), [("ok.client", "40002"), ("second.ok.client", "40007")])
def test_one_wrong_flow_of_two_is_marked_among_the_hops_of_both(
    bench: "Bench", lost: str, port: str
) -> None:
    story = bench.answered + second_flow(bench)
    finding = bench.judge(story, without=lost, to="curl http://web-svc http://a")
    assert finding.word == "refuted"
    assert finding.wrong is not None
    assert finding.wrong in finding.hops
    assert finding.wrong.dst == f"10.244.1.5:{port}"
    assert {hop.src for hop in finding.hops} >= {"10.244.1.5:40002", "10.244.1.5:40007"}
    before = finding.hops[finding.wrong.index - 2]
    assert before.dst == f"10.244.1.0:{int(port) + 1000}", "it stays behind the last of its flow"


@pytest.mark.parametrize(
    ("to", "address", "objects"),
    [
        ("http://127.0.0.1", "127.0.0.1", {}),
        ("http://localhost", "127.0.0.1", {}),
        ("http://client", "10.244.1.5", {}),
        ("http://me", "10.244.1.5", {"hostname": "me"}),
        (
            "http://me.us.default.svc.cluster.local",
            "10.244.1.5",
            {"hostname": "me", "subdomain": "us"},
        ),
        (
            "http://alias",
            "127.0.0.1",
            {"hostAliases": [{"ip": "127.0.0.1", "hostnames": ["alias"]}]},
        ),
    ],
)
def test_what_a_pod_asks_itself_by_a_name_of_its_hosts_file(
    bench: "Bench", to: str, address: str, objects: dict[str, Any]
) -> None:
    story = f"""
syn  default/client lo  {address}:40002 > {address}:80  SYN
ack  default/client lo  {address}:80 > {address}:40002  SYN-ACK
get  default/client lo  {address}:40002 > {address}:80  data GET / HTTP/1.1\\r\\n\\r\\n
ok   default/client lo  {address}:80 > {address}:40002  data HTTP/1.1 200 OK\\r\\n\\r\\n
"""
    snapshot = bench.cluster(bench.pod("default/client", "10.244.1.5", **objects))
    finding = bench.judge(story, snapshot=snapshot, to=to)
    assert (finding.word, finding.status) == ("confirmed", 200), finding
    assert {hop.interface for hop in finding.hops} == {"lo"}
