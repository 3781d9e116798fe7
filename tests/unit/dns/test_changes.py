"""A table that was changed a thousand times says what one that was just filled says."""

from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dns.cluster.answer import answer
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Shelf, Table
from podwire.dns.cluster.watched import WatchedPod, WatchedService, WatchedSlice
from podwire.dns.messages.message import Kind, Question, Reply
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace

Json = dict[str, Any]
Thing = Namespace | WatchedService | WatchedSlice | WatchedPod | None
Slot = tuple[str, str]
"""Kind and name of an object."""

NAMES = ("a", "b")
PLACES = ("10.0.0.1", "10.0.0.2", "fd00::1")
OPTIONS = Options(
    zones=("cluster.local.", "in-addr.arpa.", "ip6.arpa."),
    pods="verified",
    own_addresses=(ip_address("10.0.0.2"),),
)
QUESTIONS = [
    Question(name, kind)
    for name in (
        "cluster.local.",
        *(f"{left}{name}.shop.svc.cluster.local." for name in NAMES for left in ("", "_p._tcp.")),
        *(f"{left}.a.shop.svc.cluster.local." for left in ("host", "10-0-0-1", "fd00--1")),
        "10-0-0-1.shop.pod.cluster.local.",
        *(f"{ip_address(place).reverse_pointer}." for place in PLACES),
    )
    for kind in (Kind.A, Kind.AAAA, Kind.SRV, Kind.PTR, Kind.CNAME, Kind.TXT, Kind.NS)
]


def service(name: str, addresses: list[str], target: str) -> WatchedService:
    spec: Json = {"clusterIPs": addresses or ["None"], "ports": [{"name": "p", "port": 80}]}
    if target:
        spec = {"type": "ExternalName", "externalName": target}
    return convert(WatchedService, {"metadata": _metadata(name), "spec": spec})


def slice_(name: str, owner: str, endpoints: list[Json]) -> WatchedSlice:
    labels = {"kubernetes.io/service-name": owner} if owner else {}
    given = {
        "metadata": {**_metadata(name), "labels": labels},
        "endpoints": endpoints,
        "ports": [{"name": "p", "port": 8080}],
    }
    return convert(WatchedSlice, given)


def pod(name: str, place: str, phase: str) -> WatchedPod:
    status = {"podIP": place, "phase": phase}
    return convert(WatchedPod, {"metadata": _metadata(name), "status": status})


names = st.sampled_from(NAMES)
places = st.sampled_from(PLACES)
endpoints = st.fixed_dictionaries(
    {
        "addresses": st.lists(places, min_size=1, max_size=1),
        "hostname": st.sampled_from([None, "host"]),
        "conditions": st.sampled_from([{}, {"ready": True}, {"ready": False}]),
    }
)
targets = st.sampled_from(["", "", "b.shop.svc.cluster.local"])
changes: st.SearchStrategy[tuple[str, str, Thing]] = st.one_of(
    st.tuples(
        st.just("namespace"),
        st.just("shop"),
        st.one_of(st.none(), st.just(convert(Namespace, {"metadata": {"name": "shop"}}))),
    ),
    names.flatmap(
        lambda name: st.tuples(
            st.just("service"),
            st.just(name),
            st.one_of(
                st.none(),
                st.builds(service, st.just(name), st.lists(places, max_size=2), targets),
            ),
        )
    ),
    names.flatmap(
        lambda name: st.tuples(
            st.just("slice"),
            st.just(name),
            st.one_of(
                st.none(),
                st.builds(
                    slice_,
                    st.just(name),
                    st.sampled_from(["", *NAMES]),
                    st.lists(endpoints, max_size=3),
                ),
            ),
        )
    ),
    names.flatmap(
        lambda name: st.tuples(
            st.just("pod"),
            st.just(name),
            st.one_of(
                st.none(),
                st.builds(pod, st.just(name), places, st.sampled_from(["Running", "Succeeded"])),
            ),
        )
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(changes, max_size=25))
def test_any_way_to_the_same_objects_gives_the_same_answers(
    path: list[tuple[str, str, Thing]],
) -> None:
    changed = Table()
    present: dict[Slot, Thing] = {}
    for kind, name, thing in path:
        before = revision(changed)
        report(changed, kind, present.get((kind, name)), thing)
        report(changed, kind, thing, thing)
        assert revision(changed) >= before
        present[kind, name] = thing
    fresh = Table()
    for (kind, _), thing in present.items():
        report(fresh, kind, None, thing)
    for table in (changed, fresh):
        table.synced()
    for question in QUESTIONS:
        assert shown(changed, question) == shown(fresh, question), question
    assert sizes(changed) == sizes(fresh)


def report(table: Table, kind: str, old: Thing, new: Thing) -> None:
    """Report a change as an informer does; nothing that stays nothing is none."""
    if old is None and new is None:
        return
    match old or new:
        case Namespace():
            table.change_namespace(old, new)  # type: ignore[arg-type]
        case WatchedService():
            table.change_service(old, new, now=1)  # type: ignore[arg-type]
        case WatchedSlice():
            table.change_slice(old, new, now=1)  # type: ignore[arg-type]
        case _:
            table.change_pod(old, new, now=1)  # type: ignore[arg-type]


def revision(table: Table) -> int:
    return table.revision


def shown(table: Table, question: Question) -> Any:
    reply = answer(question, table, OPTIONS)
    assert isinstance(reply, Reply)
    if reply.authority:
        return reply.rcode
    # What is first may depend on what came first; what there is may not. With two Services at
    # one address only one name is given.
    if question.kind == Kind.PTR:
        return reply.rcode, len(reply.answer) > 0
    return reply.rcode, set(reply.answer), set(reply.additional), reply.follow


def sizes(table: Table) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, held in vars(table).items():
        parts = vars(held).items() if isinstance(held, Shelf) else [("", held)]
        for part, value in parts:
            if not isinstance(value, int):
                found[f"{name}{part}"] = len(value)
    return found


def _metadata(name: str) -> Json:
    return {"name": name, "namespace": "shop"}
