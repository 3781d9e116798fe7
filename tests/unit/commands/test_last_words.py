"""What is not ready is reported: in time with its last words, at once if it has no image."""

from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.images.catalogue import how_to_add
from podwire.errors import PodwireError, TimedOut
from podwire.kube.apply import apply
from podwire.kube.manifests import from_text
from podwire.kube.waiting import Target, until_ready

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

POD = """
apiVersion: v1
kind: Pod
metadata: {name: cart}
spec: {nodeName: node-1, containers: [{name: c, image: shop/cart}]}
"""
FAILED = {"terminated": {"exitCode": 2, "reason": "Error"}}


def unready(state: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the status of the container c, which is in *state* and was in *before*."""
    return {
        "name": "c", "ready": False, "state": state, "lastState": before or {}, "image": "",
        "imageID": "", "restartCount": 1, "started": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "before", "previous"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, FAILED, True),
        (FAILED, {}, False),
        ({"waiting": {"reason": "ErrImagePull"}}, {}, None),
    ],
)
def test_last_words(
    api: "Api", state: dict[str, Any], before: dict[str, Any], previous: object
) -> None:
    container = unready(state, before)
    with api.connection() as connection:
        apply(connection, from_text(POD))
        collection = "/api/v1/namespaces/default/pods"
        status = {"phase": "Running", "containerStatuses": [container]}
        connection.patch(f"{collection}/cart/status", {"status": status})

        with pytest.raises(TimedOut) as caught:
            until_ready(connection, [Target("Pod", collection, "cart")], limit=0)

    said = "      its last words: one\n      its last words: two\n"
    assert str(caught.value).endswith("get events -A; or wait longer: --timeout SECONDS")
    assert (said in str(caught.value)) is (previous is not None)
    assert [call.previous for call in api.agent.log_calls] == (
        [] if previous is None else [previous]
    )


@pytest.mark.parametrize(
    ("waiting", "at_once"),
    [
        ({"reason": "ErrImagePull", "message": how_to_add("shop/cart:1")}, True),
        ({"reason": "ImagePullBackOff", "message": f"Back-off: {how_to_add('shop/cart')}"}, True),
        ({"reason": "InvalidImageName", "message": "couldn't parse"}, True),
        ({"reason": "ErrImagePull", "message": "the engine's registry does not answer"}, False),
        ({"reason": "CrashLoopBackOff"}, False),
    ],
)
def test_who_waits_for_an_image_that_nobody_brings_is_not_waited_for(
    api: "Api", waiting: dict[str, Any], at_once: object
) -> None:
    now = iter(range(1000))
    container = unready({"waiting": waiting})
    with api.connection() as connection:
        apply(connection, from_text(POD))
        collection = "/api/v1/namespaces/default/pods"
        status = {"phase": "Pending", "containerStatuses": [container]}
        connection.patch(f"{collection}/cart/status", {"status": status})

        with pytest.raises(PodwireError) as caught:
            until_ready(
                connection, [Target("Pod", collection, "cart")], limit=20, clock=lambda: next(now)
            )

    assert isinstance(caught.value, TimedOut) is not at_once
    assert str(caught.value).startswith("cannot become ready:\n  pod cart: ") is at_once


BAD = "shop/cart:1"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchExpressions: [{key: app, operator: In, values: [cart]}]}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: c, image: %s}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stuck, labels: {app: %s}}
spec: {nodeName: node-1, containers: [{name: c, image: "shop/cart:1"}]}
"""


@pytest.mark.parametrize(
    ("image", "app", "at_once"),
    [
        (BAD, "cart", True),
        # Left over of a rollout; and somebody else's.
        ("shop/cart:2", "cart", False),
        (BAD, "other", False),
    ],
)
def test_only_the_pods_that_are_waited_for_count(
    api: "Api", image: str, app: str, at_once: object
) -> None:
    now = iter(range(1000))
    waiting = {"reason": "ErrImagePull", "message": how_to_add(BAD)}
    container = unready({"waiting": waiting})
    with api.connection() as connection:
        apply(connection, from_text(DEPLOYMENT % (image, app)))
        status = {"phase": "Pending", "containerStatuses": [container]}
        connection.patch("/api/v1/namespaces/default/pods/stuck/status", {"status": status})
        target = Target("Deployment", "/apis/apps/v1/namespaces/default/deployments", "cart")

        with pytest.raises(PodwireError) as caught:
            until_ready(connection, [target], limit=20, clock=lambda: next(now))

    assert isinstance(caught.value, TimedOut) is not at_once
