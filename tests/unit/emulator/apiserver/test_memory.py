"""Objects come, change and go for ever: what the server keeps does not grow. bench/api.py does more."""

import gc
import random
import tracemalloc

from podwire.emulator.apiserver.request import Api
from podwire.emulator.apiserver.store import Store
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.custom_kinds import CRDS, definition, version

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
HISTORY = 400
POD = {"spec": {"containers": [{"name": "a", "image": "nginx"}]}}
DEPLOYMENT = {
    "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, **POD},
    }
}


def churn(server: SilentServer, turns: range) -> None:
    for turn in turns:
        name = f"x-{turn}"
        for path, obj in ((PODS, POD), (DEPLOYMENTS, DEPLOYMENT)):
            server.must(f"POST {path}", {"metadata": {"name": name}, **obj})
            change = {"metadata": {"labels": {"turn": str(turn)}}}
            server.must(f"PATCH {path}/{name}?fieldManager=m-{turn}", change, patch="merge")
            server.must(f"DELETE {path}/{name}")


def test_churn_leaves_no_more_than_the_history(server: SilentServer) -> None:
    server.api = Api(Store(HISTORY), random.Random(1))
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    churn(server, range(HISTORY // 4))  # the history is full: six changes a turn
    gc.collect()
    tracemalloc.start()
    try:
        churn(server, range(1_000, 1_100))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        churn(server, range(2_000, 2_400))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What is traced from the start on replaces what was there before; then it stays as it is.
    assert after - before < 100_000


def define_and_forget(server: SilentServer, turns: range) -> None:
    for turn in turns:
        group, plural = f"turn{turn}.example.com", f"widgets{turn}"
        crd = definition(version())
        crd["metadata"]["name"] = f"{plural}.{group}"
        names = {"plural": plural, "kind": f"Widget{turn}"}
        crd["spec"] |= {"group": group, "names": names}
        server.must(f"POST {CRDS}", crd)
        path = f"/apis/{group}/v1/namespaces/default/{plural}"
        made = {"apiVersion": f"{group}/v1", "kind": f"Widget{turn}", "metadata": {"name": "w"}}
        server.must(f"POST {path}", made)
        server.get(path)
        server.must(f"DELETE {path}/w")
        server.must(f"DELETE {CRDS}/{plural}.{group}")


def test_kinds_that_come_and_go_leave_nothing(server: SilentServer) -> None:
    server.api = Api(Store(50), random.Random(1))
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    define_and_forget(server, range(100))
    gc.collect()
    tracemalloc.start()
    try:
        define_and_forget(server, range(100, 150))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        define_and_forget(server, range(200, 400))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
