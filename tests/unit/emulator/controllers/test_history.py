"""ControllerRevisions: which one a template has, and which ones go."""

import pytest

from podwire.emulator.controllers.pod_templates import template_hash
from podwire.emulator.controllers.workloads.history import newest, surplus, template_of
from podwire.kube.objects import ControllerRevision, StatefulSet
from podwire.testing import build

OWNER = StatefulSet(metadata=build.meta("db", annotations={"kubernetes.io/change-cause": "why"}))
LABEL = "controller.kubernetes.io/hash"


def revisions(text: str) -> list[ControllerRevision]:
    """Read `1:a 2:b`: number and image."""
    found: list[ControllerRevision] = []
    for item in text.split():
        number, _, image = item.partition(":")
        template = build.template({"app": "db"}, image)
        found.append(
            ControllerRevision(
                metadata=build.meta(f"db-{image}"),
                revision=int(number),
                data={"spec": {"template": {**template, "$patch": "replace"}}},
            )
        )
    return found


@pytest.mark.parametrize(
    ("present", "image", "said"),
    [
        ("", "a", "make 1"),
        ("1:a", "a", "1 of a"),
        ("1:a", "b", "make 2"),
        ("1:a 2:b", "a", "1 of a becomes 3"),
        ("3:a 2:b", "a", "3 of a"),
        ("3:a 2:b 7:c", "b", "2 of b becomes 8"),
    ],
)
def test_the_revision_of_a_template(present: str, image: str, said: str) -> None:
    template = build.template({"app": "db"}, image)
    found = newest(OWNER, template, revisions(present), collisions=0, hash_label=LABEL)
    assert template_of(found.revision) == template
    words = f"{found.revision.revision} of {found.revision.metadata.name[3:]}"
    if found.create:
        words = f"make {found.revision.revision}"
    elif found.renumber is not None:
        words += f" becomes {found.renumber}"
    assert words == said


def test_a_new_revision_says_whose_it_is_and_why() -> None:
    template = build.template({"app": "db"})
    made = newest(OWNER, template, (), collisions=2, hash_label=LABEL).revision
    suffix = template_hash(template, 2)
    assert made.metadata.name == f"db-{suffix}"
    assert made.metadata.labels == {"app": "db", LABEL: suffix}
    assert made.metadata.annotations == {"kubernetes.io/change-cause": "why"}
    assert made.metadata.owner_references[0].name == "db"


@pytest.mark.parametrize(
    ("live", "limit", "gone"),
    [("d", 10, ""), ("d", 2, "a"), ("d", 0, "a b c"), ("a d", 1, "b"), ("a b c d", 0, "")],
)
def test_the_oldest_that_nothing_needs_go(live: str, limit: int, gone: str) -> None:
    present = revisions("2:b 1:a 4:d 3:c")
    names = {f"db-{image}" for image in live.split()}
    found = [r.metadata.name[3:] for r in surplus(present, names, limit)]
    assert " ".join(found) == gone
