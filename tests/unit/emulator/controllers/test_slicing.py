import msgspec
import pytest

from podwire.emulator.controllers.services.slicing import (
    Group,
    SliceWrites,
    ports_key,
    slice_writes,
)
from podwire.kube.codec import owned_by
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    ObjectReference,
)
from podwire.testing import build

OWNER = owned_by(build.service("web"))
LABELS = {"kubernetes.io/service-name": "web"}
METADATA = ObjectMeta(
    generate_name="web-", namespace="default", labels=LABELS, owner_references=(OWNER,)
)
HTTP = (EndpointPort(name="http", port=8080),)
ADMIN = (EndpointPort(name="http", port=9090),)


def endpoint(text: str) -> Endpoint:
    """Read `a` (ready) or `a!` (not ready)."""
    name = text.removesuffix("!")
    number = sum(ord(c) * 31**i for i, c in enumerate(name)) % 65000
    return Endpoint(
        addresses=(f"10.244.{number // 250}.{number % 250}",),
        conditions=EndpointConditions(ready=not text.endswith("!")),
        target_ref=ObjectReference(kind="Pod", name=name, uid=f"uid-of-{name}"),
    )


def endpoints(text: str) -> list[Endpoint]:
    return [endpoint(word) for word in text.split()]


def slices(text: str, labels: dict[str, str] = LABELS) -> list[EndpointSlice]:
    """Read `s1: a b | s2: c` and `s3(admin): d`."""
    found: list[EndpointSlice] = []
    for part in filter(None, (p.strip() for p in text.split("|"))):
        name, _, members = part.partition(":")
        ports = ADMIN if name.endswith("(admin)") else () if name.endswith("(none)") else HTTP
        found.append(
            EndpointSlice(
                metadata=ObjectMeta(
                    name=name.partition("(")[0],
                    namespace="default",
                    labels=labels,
                    owner_references=(OWNER,),
                ),
                endpoints=tuple(endpoints(members)),
                ports=ports,
            )
        )
    return found


def words(writes: SliceWrites) -> str:
    """Return `update s1: a b, create: c, delete s2`; endpoints in order of name."""

    def members(slice_: EndpointSlice) -> str:
        names = sorted(
            (e.target_ref.name if e.target_ref else "") + ("" if e.conditions.ready else "!")
            for e in slice_.endpoints or ()
        )
        admin = "(admin)" if slice_.ports == ADMIN else "(none)" if not slice_.ports else ""
        return f"{admin}: {' '.join(names)}".rstrip(" ")

    return ", ".join(
        [
            *(f"create{members(s)}" for s in writes.create),
            *(f"update {s.metadata.name}{members(s)}" for s in writes.update),
            *(f"delete {s.metadata.name}" for s in writes.delete),
        ]
    )


def writes(wanted: str, present: str, admin: str = "", limit: int = 3) -> SliceWrites:
    groups = {Group("IPv4", HTTP): endpoints(wanted), Group("IPv4", ADMIN): endpoints(admin)}
    return slice_writes(
        {group: found for group, found in groups.items() if found},
        slices(present),
        families=("IPv4",),
        metadata=METADATA,
        limit=limit,
    )


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        # Nothing to do.
        ("a b", "s1: a b", ""),
        ("a b c d", "s1: a b | s2: c d", ""),
        # From nothing.
        ("a b", "", "create: a b"),
        ("a b c d", "", "create: a b c, create: d"),
        # One flip rewrites one slice.
        ("a b! c d", "s1: a b | s2: c d", "update s1: a b!"),
        # A new one goes where there is room, into the fullest slice that has it.
        ("a b c d", "s1: a | s2: b c", "update s2: b c d"),
        ("a b c d e", "s1: a b c | s2: d", "update s2: d e"),
        ("a b c d", "s1: a b c", "create: d"),
        # It goes along with a slice that is written anyway, full slices first.
        ("a! b c d", "s1: a | s2: b c", "update s1: a! d"),
        # One leaves, one comes: one write.
        ("a c", "s1: a b", "update s1: a c"),
        # More than a slice holds: no best fit, new slices.
        ("a b c d e f", "s1: a b", "create: c d e, update s1: a b f"),
        # Half-empty slices stay as they are.
        ("a d", "s1: a b | s2: c d", "update s1: a, update s2: d"),
        ("a", "s1: a | s2: b", "delete s2"),
        # The last one leaves: a placeholder stays, by an update.
        ("", "s1: a", "update s1(none):"),
        ("", "s1: a | s2: b", "update s1(none):, delete s2"),
        ("", "s1(none):", ""),
        ("", "", "create(none):"),
        ("a", "s1(none):", "update s1: a"),
        ("", "s1: a | s2(none):", "delete s1"),
    ],
)
def test_fewest_writes(wanted: str, present: str, expected: str) -> None:
    assert words(writes(wanted, present)) == expected


@pytest.mark.parametrize(
    ("wanted", "admin", "present", "expected"),
    [
        # Pods whose named port has another number go to slices of their own.
        ("a b", "c", "", "create: a b, create(admin): c"),
        ("a", "c", "s1: a | s2(admin): c", ""),
        ("a", "b", "s1: a b", "create(admin): b, update s1: a"),
        # The whole group changes its ports: a create and a delete become an update.
        ("", "a b", "s1: a b", "update s1(admin): a b"),
    ],
)
def test_ports_separate(wanted: str, admin: str, present: str, expected: str) -> None:
    assert words(writes(wanted, present, admin)) == expected


def test_labels_of_the_service_reach_every_slice() -> None:
    result = slice_writes(
        {Group("IPv4", HTTP): endpoints("a b")},
        slices("s1: a | s2: b", labels={**LABELS, "team": "old"}),
        families=("IPv4",),
        metadata=METADATA,
    )
    assert words(result) == "update s1: a, update s2: b"
    assert all(s.metadata.labels == LABELS for s in result.update)


def test_a_going_service_gets_no_new_slices() -> None:
    result = slice_writes(
        {Group("IPv4", HTTP): endpoints("a b")},
        slices("s1: a"),
        families=("IPv4",),
        metadata=METADATA,
        limit=1,
        may_create=False,
    )
    assert result.create == ()


def test_slices_of_an_earlier_service_of_this_name_are_not_reused() -> None:
    [old] = slices("s1: a")
    stranger = msgspec.structs.replace(OWNER, uid="another")
    meta = msgspec.structs.replace(old.metadata, owner_references=(stranger,))
    result = slice_writes(
        {Group("IPv4", HTTP): endpoints("b")},
        [msgspec.structs.replace(old, metadata=meta)],
        families=("IPv4",),
        metadata=METADATA,
    )
    assert words(result) == "create: b, delete s1"


def test_a_new_service_of_an_old_name_takes_no_slice_over() -> None:
    [old] = slices("s1: a b")
    stranger = msgspec.structs.replace(OWNER, uid="another")
    meta = msgspec.structs.replace(old.metadata, owner_references=(stranger,))
    result = slice_writes(
        {Group("IPv4", HTTP): endpoints("a b")},
        [msgspec.structs.replace(old, metadata=meta)],
        families=("IPv4",),
        metadata=METADATA,
    )
    # Left as it is, the slice would vanish with its owner, and the endpoints with it.
    assert words(result) == "create: a b, delete s1"


def test_slices_that_are_right_are_told_too() -> None:
    result = writes("a b! c d", "s1: a b | s2: c d")
    assert [slice_.metadata.name for slice_ in result.unchanged] == ["s2"]


def test_slices_of_a_family_that_is_not_wanted_go() -> None:
    [old] = slices("s1: a")
    result = slice_writes(
        {Group("IPv4", HTTP): endpoints("b")},
        [msgspec.structs.replace(old, address_type="IPv6")],
        families=("IPv4",),
        metadata=METADATA,
    )
    # addressType cannot be changed, so there is no update.
    assert words(result) == "create: b, delete s1"


def test_applying_the_writes_leaves_nothing_to_do() -> None:
    present: dict[str, EndpointSlice] = {}
    steps = ["a b c d e f g", "a b c! d e f g h", "b d f h", "", "x y", "x y z u v w a b c d"]
    for number, wanted in enumerate(steps):
        result = slice_writes(
            {Group("IPv4", HTTP): endpoints(wanted)} if wanted else {},
            present.values(),
            families=("IPv4",),
            metadata=METADATA,
            limit=3,
        )
        for place, made in enumerate(result.create):
            name = f"s{number}-{place}"
            meta = msgspec.structs.replace(made.metadata, name=name)
            present[name] = msgspec.structs.replace(made, metadata=meta)
        for slice_ in result.update:
            present[slice_.metadata.name] = slice_
        for slice_ in result.delete:
            del present[slice_.metadata.name]
        assert all(len(s.endpoints or ()) <= 3 for s in present.values())
        found = sorted(e.addresses for s in present.values() for e in s.endpoints or ())
        assert found == sorted(e.addresses for e in endpoints(wanted))
        again = slice_writes(
            {Group("IPv4", HTTP): endpoints(wanted)} if wanted else {},
            present.values(),
            families=("IPv4",),
            metadata=METADATA,
            limit=3,
        )
        assert words(again) == ""


def test_order_of_ports_does_not_matter() -> None:
    ports = (EndpointPort(name="b", port=1), EndpointPort(name="a", port=2))
    assert ports_key(ports) == ports_key(reversed(ports))
