"""What is not ready in time is reported with the last words of the containers that ended."""

from typing import TYPE_CHECKING, Any

import pytest

from podwire.errors import TimedOut
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
    container = {
        "name": "c", "ready": False, "state": state, "lastState": before, "image": "",
        "imageID": "", "restartCount": 1, "started": False,
    }  # fmt: skip
    with api.connection() as connection:
        apply(connection, from_text(POD))
        collection = "/api/v1/namespaces/default/pods"
        status = {"phase": "Running", "containerStatuses": [container]}
        connection.patch(f"{collection}/cart/status", {"status": status})

        with pytest.raises(TimedOut) as caught:
            until_ready(connection, [Target("Pod", collection, "cart")], limit=0)

    said = "      its last words: one\n      its last words: two\n"
    assert (said in str(caught.value)) is (previous is not None)
    assert [call.previous for call in api.agent.log_calls] == (
        [] if previous is None else [previous]
    )
