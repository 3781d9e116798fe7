"""Every vector through the real program, over UDP and TCP: `make vectors`.

Judges the file that $PODWIRE_DNS_VECTORS names, or else ours. The servers run once, for the tests
of all workers; each test looks at its own reply.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.system.dns import comparing, corefiles, inside, playing
from tests.system.dns.files import vectors
from tests.system.dns.messages import read
from tests.system.dns.playing import TRANSPORTS, is_for_udp
from tests.system.dns.shared import once, shared_folder

Json = dict[str, Any]

VECTORS = vectors()
WITHIN = 110.0
SERVERS = 12
"""How many servers one batch of vectors takes, about; they run at the same time."""


class Replies:
    """The replies to the selected vectors, batch by batch, when the first test asks for one.

    *folder* is where all workers keep them: who comes first has a batch run.
    """

    def __init__(self, folder: Path, selected: Mapping[str, Sequence[Json]]) -> None:
        self._folder = folder
        self._batches: list[Json] = []
        self._batch_of: dict[str, int] = {}
        self._known: dict[int, Json] = {}
        groups = playing.groups(selected["cases"])
        for start in range(0, len(groups), SERVERS):
            self._add([case for group in groups[start : start + SERVERS] for case in group], [])
        each = SERVERS // len(TRANSPORTS)
        for start in range(0, len(selected["sequences"]), each):
            self._add([], selected["sequences"][start : start + each])

    def of(self, entry: Json, transport: str) -> Json:
        """Return what was seen of a case or a sequence; fails with the error if there was one."""
        number = self._batch_of[entry["id"]]
        if number not in self._known:
            self._known[number] = self._played(number)
        seen: Json = self._known[number][entry["id"]]
        if "error" in seen[transport]:
            pytest.fail(str(seen[transport]["error"]), pytrace=False)
        return {"log": "", **seen, **seen[transport]}

    def _add(self, cases: Sequence[Json], sequences: Sequence[Json]) -> None:
        surroundings = {"fixtures": VECTORS["fixtures"], "upstreams": VECTORS.get("upstreams")}
        self._batch_of |= {entry["id"]: len(self._batches) for entry in (*cases, *sequences)}
        self._batches.append({"cases": cases, "sequences": sequences, **surroundings})

    def _played(self, number: int) -> Json:
        def play() -> Json:
            seen = inside.play(playing.play, self._batches[number], within=WITHIN)
            return {**seen["cases"], **seen["sequences"]}

        found: Json = once(self._folder / f"dns-replies-{number}.json", play)
        return found


@pytest.fixture(scope="module")
def replies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Replies:
    items: list[Any] = request.session.items
    ours = [i for i in items if i.path == Path(__file__) and hasattr(i, "callspec")]
    # An empty list of vectors makes a test of its own, without one.
    entries = [item.callspec.params["entry"] for item in ours]
    ids = {cast(Json, entry)["id"] for entry in entries if isinstance(entry, dict)}
    kinds = ("cases", "sequences")
    selected = {kind: [v for v in VECTORS.get(kind, []) if v["id"] in ids] for kind in kinds}
    return Replies(shared_folder(request, tmp_path_factory), selected)


def identified(kind: str) -> list[Any]:
    return [pytest.param(entry, id=entry["id"]) for entry in VECTORS.get(kind, [])]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("entry", identified("cases"))
def test_case(entry: Json, transport: str, replies: Replies) -> None:
    seen = replies.of(entry, transport)
    about = corefiles.corefile(entry["config"], entry.get("op") or "") + entry.get("quirk", "")
    about += seen["log"][-1200:]
    if entry.get("op") == "autopath_search":
        assert seen["asked"] == _walk(entry, seen["name"]), about
        return
    parsed = _parsed(seen["replies"])
    if entry.get("op") in corefiles.TRANSFERS and transport == "udp":
        # Transfers of any zone only over TCP, whoever serves it.
        assert parsed["rcode"] == "REFUSED", about
        return
    if "records" in entry:
        wanted = comparing.transfer(entry["records"])
        assert comparing.transfer(parsed["answer"]) == wanted, about
        return
    seen_case = comparing.case_seen(entry, parsed)
    if seen_case != comparing.alias_alone(entry, VECTORS["fixtures"][entry["fixture"]]):
        assert seen_case == comparing.case(entry), about
    assert not comparing.disorder(parsed["answer"]), about


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("entry", identified("sequences"))
def test_sequence(entry: Json, transport: str, replies: Replies) -> None:
    seen = replies.of(entry, transport)
    problems, waited = list[str](), False
    for number, (step, found) in enumerate(zip(entry["steps"], seen["steps"], strict=True), 1):
        waited = waited or step["op"] == "wait"
        named = f"step {number}, {step.get('qname') or step.get('url')} {step.get('qtype', '')}"
        # A second may end between two questions: "TTLs after a wait may be one lower". And on a busy
        # machine one may pass.
        late = int(waited) + min(1, int(found["late"]))
        problems += [f"{named}: {p}" for p in _problems(step, found, late=late)]
    assert not problems, "\n".join([*problems, entry["corefile"], seen["log"][-1200:]])


def test_every_vector_is_run() -> None:
    known = {"cases", "sequences", "unit"}
    lists = {kind for kind, value in VECTORS.items() if isinstance(value, list) and value}
    assert not {k for k in lists if k not in known and _has_ids(VECTORS[k])}
    cases: list[Json] = VECTORS.get("cases", [])
    assert {case.get("op") for case in cases} <= {None, *corefiles.TRANSFERS, "autopath_search"}
    assert {key for case in cases for key in case["config"]} <= CONFIG_KEYS


CONFIG_KEYS = {
    "zones", "pods", "namespaces", "namespace_labels", "labels", "ttl", "ignore_empty_service",
    "endpoint_pod_names", "noendpoints", "zonal", "multicluster", "fallthrough", "local_ips",
    "not_synced", "plugin", "apex", "headless", "kubernetes_zones", "server_addresses",
}  # fmt: skip


def _has_ids(entries: list[Any]) -> bool:
    return any(isinstance(entry, dict) and "id" in entry for entry in entries)


def _walk(entry: Json, name: str) -> list[str]:
    """Return the names that an upstream sees of a client's search."""
    if not entry["search"]:
        return [name]
    base = name.removesuffix(entry["search"][0])
    return [base + domain for domain in entry["search"]]


def _problems(step: Json, found: Json, *, late: int) -> list[str]:
    expect = step.get("expect", {})
    if step["op"] == "http":
        body = found["body"].rstrip("\n")
        wanted = (expect["status"], expect.get("body", body))
        return [] if (found["status"], body) == wanted else [f"{found}, not {expect}"]
    if step["op"] != "query":
        return []
    if not found["replies"]:
        return ["no reply"]
    reply = _parsed(found["replies"])
    full = _parsed(found["full"]) if "full" in found else None
    over_tcp = found["transport"] == "tcp" and not is_for_udp(step)
    return comparing.step_problems(expect, reply, full, over_tcp=over_tcp, late=late)


def _parsed(replies: list[str]) -> Json:
    """Return the reply; that of a transfer with the answers of all its messages."""
    assert replies, "no reply"
    first, *more = [read(bytes.fromhex(reply)) for reply in replies]
    return {**first, "answer": [*first["answer"], *(r for m in more for r in m["answer"])]}
