import pytest

from podwire.emulator.apiserver import paths
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.statuses import Refused


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /api/v1/pods", "list pods"),
        ("GET /api/v1/pods?watch", "watch pods"),
        ("GET /api/v1/watch/pods", "watch pods"),
        ("GET /api/v1/watch/namespaces/a/pods", "watch pods in a"),
        ("GET /api/v1/namespaces/a/pods/b", "get pods in a named b"),
        ("POST /api/v1/namespaces/a/pods", "create pods in a"),
        ("DELETE /api/v1/namespaces/a/pods", "deletecollection pods in a"),
        ("PUT /apis/apps/v1/namespaces/a/deployments/b", "update deployments in a named b"),
        (
            "PATCH /apis/apps/v1/namespaces/a/deployments/b/scale",
            "patch deployments in a named b /scale",
        ),
        ("GET /api/v1/namespaces", "list namespaces"),
        ("GET /api/v1/namespaces/a", "get namespaces named a"),
        ("PUT /api/v1/namespaces/a/finalize", "update namespaces named a /finalize"),
        ("PATCH /api/v1/namespaces/a/status", "patch namespaces named a /status"),
        ("GET /api/v1/namespaces/a/pods/b/log", "get pods in a named b /log"),
        ("GET /api/v1/nodes/a%2Eb", "get nodes named a.b"),
        ("GET /version", "None"),
        ("GET /api/v1", "None"),
        ("POST /api/v1/pods", "405"),
        ("PUT /api/v1/namespaces/a/pods", "405"),
        ("OPTIONS /api/v1/namespaces/a/pods", "405"),
        ("HEAD /api/v1/namespaces/a/pods/b", "405"),
        ("DELETE /api/v1/namespaces", "405"),
        ("GET /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "405"),
        ("GET /api/v1/pods/b", "404"),
        ("GET /api/v1/namespaces/a/nodes/b", "404"),
        ("GET /api/v1/gadgets", "404"),
        ("GET /apis/apps/v2/deployments", "404"),
        ("GET /apis/storage.k8s.io/v1/storageclasses", "None"),
        ("GET /api/v1/namespaces/a/pods/b/resize", "404"),
        ("GET /api/v1/namespaces/a/pods/b/log/more", "404"),
    ],
)
def test_paths(line: str, expected: str) -> None:
    assert meaning(line) == expected


def meaning(line: str) -> str:
    method, _, url = line.partition(" ")
    try:
        target = paths.parse(
            Kinds(), method, url.removesuffix("?watch"), watch=url.endswith("?watch")
        )
    except Refused as refusal:
        return str(refusal.code)
    if target is None:
        return "None"
    shown = f"{target.verb} {target.resource.plural}"
    shown += f" in {target.namespace}" if target.namespace else ""
    shown += f" named {target.name}" if target.name else ""
    return shown + (f" /{target.subresource}" if target.subresource else "")
