"""What pods are, from their place to their end: on a real cluster, through its API."""

import json

from podwire.testing.cluster import Cluster
from tests.system.conftest import CLIENT, WEB, both_runtimes
from tests.system.pods import SETTINGS, events, pod
from tests.system.until import items, pod_path, until, until_gone

# --- places ----------------------------------------------------------------------------------------


async def test_a_daemon_set_has_one_pod_on_every_node_that_its_selector_allows(
    cluster: Cluster,
) -> None:
    daemons = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: agent, image: registry.k8s.io/pause}]
"""
    await cluster.apply(daemons)
    await cluster.ready("agent")
    places = [found["spec"]["nodeName"] for found in await cluster.pods("app=agent")]
    assert sorted(places) == ["node-1", "node-2", "node-3"]

    chosen = {"kubernetes.io/hostname": "node-2"}
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/daemonsets/agent"
    patch = {"spec": {"template": {"spec": {"nodeSelector": chosen}}}}
    await cluster.call(lambda api: api.patch(path, patch))
    await until(
        cluster,
        f"{pod_path(cluster, '')}?labelSelector=app%3Dagent",
        lambda found: [one["spec"].get("nodeName") for one in items(found)] == ["node-2"],
        "only node-2 has one",
    )


async def test_pods_go_where_node_name_and_node_selector_say(cluster: Cluster) -> None:
    nowhere = "nodeSelector: {kubernetes.io/hostname: node-9}"
    await cluster.apply(
        "---".join(
            [
                pod("named", spec="nodeName: node-3"),
                pod("chosen", spec="nodeSelector: {kubernetes.io/hostname: node-2}"),
                pod("lost", spec=nowhere),
            ]
        )
    )
    await cluster.ready("named", "chosen")
    placed = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in await cluster.pods()}
    assert placed == {"named": "node-3", "chosen": "node-2", "lost": None}
    refused = await events(cluster, "lost", "FailedScheduling")
    message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    assert message in refused[0]["message"]


async def test_replicas_are_spread_over_the_nodes(cluster: Cluster) -> None:
    await cluster.apply(WEB)
    await cluster.ready("web")
    places = {found["spec"]["nodeName"] for found in await cluster.pods("app=web")}
    assert places == {"node-1", "node-2", "node-3"}


# --- the end of things -----------------------------------------------------------------------------


async def test_what_belongs_to_a_deployment_goes_with_it(cluster: Cluster) -> None:
    await cluster.apply(WEB)
    await cluster.ready("web")
    await cluster.delete("deployment/web")
    base = f"/apis/apps/v1/namespaces/{cluster.namespace}/replicasets"
    await until(cluster, base, lambda found: not items(found), "no ReplicaSet is left")
    await until(cluster, pod_path(cluster, ""), lambda found: not items(found), "no pod is left")


async def test_orphans_stay(cluster: Cluster) -> None:
    await cluster.apply(WEB)
    await cluster.ready("web")
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/web"
    await cluster.call(lambda api: api.delete(path, {"propagationPolicy": "Orphan"}))
    await until_gone(cluster, path)
    base = f"/apis/apps/v1/namespaces/{cluster.namespace}/replicasets"
    (left,) = items(await cluster.get(base))
    assert "ownerReferences" not in left["metadata"]
    assert len(await cluster.pods("app=web")) == 3


async def test_a_namespace_goes_with_all_that_is_in_it(cluster: Cluster) -> None:
    name = f"{cluster.namespace}-gone"
    everything = "---".join(
        text.replace("metadata: {name:", f"metadata: {{namespace: {name}, name:", 1)
        for text in (WEB + "---" + CLIENT + "---" + SETTINGS).split("---")
    )
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await cluster.apply(everything)
    await cluster.ready(f"{name}/web", f"{name}/client")
    await cluster.call(lambda api: api.delete(f"/api/v1/namespaces/{name}", {}))
    ending = await cluster.call(lambda api: api.find(f"/api/v1/namespaces/{name}"))
    assert ending is None or ending["status"]["phase"] == "Terminating"
    await until_gone(cluster, f"/api/v1/namespaces/{name}")
    for kind in ("pods", "services", "configmaps", "endpoints", "events"):
        assert not items(await cluster.get(f"/api/v1/namespaces/{name}/{kind}")), kind


async def test_an_address_is_used_by_one_pod_at_a_time(cluster: Cluster) -> None:
    one_node = WEB.replace(
        "spec:\n      terminationGrace", "spec:\n      nodeName: node-1\n      terminationGrace"
    )
    await cluster.apply(one_node)
    await cluster.ready("web")
    for replicas in (6, 1, 6):
        await cluster.scale("web", replicas)
        await cluster.ready("web")
        alive = [
            found["status"]["podIP"]
            for found in items(await cluster.get("/api/v1/pods"))
            if found["status"].get("podIP")
            and not found["spec"].get("hostNetwork")
            and found["status"]["phase"] == "Running"
        ]
        assert len(alive) == len(set(alive)), sorted(alive)


@both_runtimes
async def test_a_pod_of_the_same_name_is_another_pod(
    cluster: Cluster,
) -> None:
    await cluster.apply(pod("short"))
    await cluster.ready("short")
    first = await cluster.get(pod_path(cluster, "short"))
    await cluster.delete("pod/short", grace=0)
    await until_gone(cluster, pod_path(cluster, "short"))
    await cluster.apply(pod("short"))
    await cluster.ready("short")
    second = await cluster.get(pod_path(cluster, "short"))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    said = await cluster.pod("short").exec("ip", "-json", "-4", "address", "show", "eth0")
    assert json.loads(said.stdout)[0]["addr_info"][0]["local"] == second["status"]["podIP"]


async def test_events_tell_the_story_of_a_pod(cluster: Cluster) -> None:
    await cluster.apply(CLIENT)
    await cluster.ready("client")
    node = (await cluster.get(pod_path(cluster, "client")))["spec"]["nodeName"]
    for reason, component, message in (
        ("Scheduled", "default-scheduler", f"assigned {cluster.namespace}/client to {node}"),
        (
            "Pulled",
            "kubelet",
            'Container image "podwire/shell:test" is this machine\'s sh and programs',
        ),
        ("Created", "kubelet", "Created container: curl"),
        ("Started", "kubelet", "Started container curl"),
    ):
        (one,) = await events(cluster, "client", reason)
        assert one["type"] == "Normal"
        assert message in one["message"]
        assert component in (one["source"].get("component"), one.get("reportingComponent"))
        assert one["involvedObject"]["kind"] == "Pod"
        assert one.get("firstTimestamp") or one.get("eventTime")
