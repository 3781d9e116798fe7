"""The containers of pods: how they end, what they see, probes, images: on a real cluster."""

import asyncio
import json
import subprocess
import uuid

import pytest

from podwire.testing.cluster import Cluster
from tests.system.command_line import PODWIRE
from tests.system.conftest import SHELL, both_runtimes
from tests.system.kubectl import Kubectl
from tests.system.pods import SETTINGS, events, phase, pod, waits
from tests.system.until import Json, containers, pod_path, until, until_gone


@both_runtimes
@pytest.mark.parametrize(
    ("policy", "status", "ends"),
    [
        ("Never", 0, "Succeeded"),
        ("Never", 3, "Failed"),
        ("OnFailure", 0, "Succeeded"),
    ],
)
async def test_a_pod_that_is_not_restarted_ends(
    cluster: Cluster, policy: str, status: int, ends: str
) -> None:
    await cluster.apply(
        pod("once", spec=f"restartPolicy: {policy}", command=["sh", "-c", f"exit {status}"])
    )
    found = await phase(cluster, "once", ends)
    (one,) = containers(found)
    assert one["state"]["terminated"]["exitCode"] == status
    assert one["state"]["terminated"]["reason"] == ("Completed" if status == 0 else "Error")
    assert one["restartCount"] == 0


@both_runtimes
@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_a_container_that_fails_again_and_again_is_held_back(
    cluster: Cluster, policy: str
) -> None:
    await cluster.apply(
        pod("crash", spec=f"restartPolicy: {policy}", command=["sh", "-c", "exit 4"])
    )
    message = await waits(cluster, "crash", "CrashLoopBackOff")
    assert message.startswith("back-off 10s restarting failed container=c pod=crash_")
    found = await cluster.get(pod_path(cluster, "crash"))
    (one,) = containers(found)
    assert one["lastState"]["terminated"]["exitCode"] == 4
    assert one["restartCount"] == 1  # the first time at once
    assert found["status"]["phase"] == "Running"
    assert await events(cluster, "crash", "BackOff")


@both_runtimes
async def test_init_containers_run_in_order_and_before_the_others(cluster: Cluster) -> None:
    shared = [{"name": "shared", "mountPath": "/shared"}]

    def step(name: str, script: str) -> str:
        return json.dumps(
            {
                "name": name,
                "image": SHELL,
                "command": ["sh", "-c", script],
                "volumeMounts": shared,
            }
        )

    first, second = step("first", "echo 1 >> /shared/log"), step("second", "echo 2 >> /shared/log")
    await cluster.apply(
        pod(
            "ordered",
            spec=f"volumes: [{{name: shared, emptyDir: {{}}}}]\n  initContainers: [{first}, {second}]",
            volumeMounts=shared,
        )
    )
    await cluster.ready("ordered")
    said = await cluster.pod("ordered").exec("cat", "/shared/log")
    assert said.stdout == b"1\n2\n"
    status = (await cluster.get(pod_path(cluster, "ordered")))["status"]
    reasons = [one["state"]["terminated"]["reason"] for one in status["initContainerStatuses"]]
    assert reasons == ["Completed", "Completed"]


@both_runtimes
async def test_a_failing_init_container_keeps_the_others_from_starting(cluster: Cluster) -> None:
    failing = '[{name: first, image: podwire/shell:test, command: ["false"]}]'
    await cluster.apply(pod("blocked", spec=f"restartPolicy: Never\n  initContainers: {failing}"))
    found = await phase(cluster, "blocked", "Failed")
    assert containers(found)[0]["state"]["waiting"]["reason"] == "PodInitializing"


@both_runtimes
async def test_a_container_has_its_grace_to_end(cluster: Cluster) -> None:
    """The polite one is gone as soon as it is done, the deaf one is killed when the time is over."""
    polite = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
    for name, script, grace in (("polite", polite, 60), ("deaf", deaf, 1)):
        text = pod(name, command=["sh", "-c", script]).replace(
            "terminationGracePeriodSeconds: 0", f"terminationGracePeriodSeconds: {grace}"
        )
        await cluster.apply(text)
    await cluster.ready("polite", "deaf")
    for name in ("polite", "deaf"):
        async with asyncio.timeout(10):
            while "ready" not in await cluster.pod(name).logs():
                pass
    for name in ("polite", "deaf"):
        await cluster.delete(f"pod/{name}")
    await asyncio.gather(
        *(until_gone(cluster, pod_path(cluster, name)) for name in ("polite", "deaf"))
    )
    assert await events(cluster, "polite", "Killing")


# --- what containers see ---------------------------------------------------------------------------

ENVIRONMENT = [
    {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
    {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    {"name": "BOTH", "value": "$(COLOR)-$(WORD) $$(COLOR) $(NONE)"},
    {
        "name": "ABSENT",
        "valueFrom": {"configMapKeyRef": {"name": "nobody", "key": "x", "optional": True}},
    },
]


@both_runtimes
async def test_the_environment_comes_from_config_maps_secrets_and_the_pod(cluster: Cluster) -> None:
    from_ = [{"configMapRef": {"name": "settings"}, "prefix": "SET_"}]
    await cluster.apply(SETTINGS + "---" + pod("reader", env=ENVIRONMENT, envFrom=from_))
    await cluster.ready("reader")
    said = (await cluster.pod("reader").exec("env")).stdout.decode()
    found = dict(line.split("=", 1) for line in said.splitlines())
    status = (await cluster.get(pod_path(cluster, "reader")))["status"]
    assert found["COLOR"] == found["SET_color"] == "blue"
    assert found["SET_size"] == "7"
    assert found["WORD"] == "sesame"
    assert (found["POD"], found["LABEL"]) == ("reader", "reader")
    assert found["ADDRESS"] == status["podIP"]
    assert found["NODE"].startswith("node-")
    assert found["BOTH"] == "blue-sesame $(COLOR) $(NONE)"
    assert "ABSENT" not in found
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


@both_runtimes
async def test_a_missing_config_map_keeps_a_container_from_starting_until_it_is_there(
    cluster: Cluster,
) -> None:
    await cluster.apply(pod("reader", env=ENVIRONMENT[:1]))
    message = await waits(cluster, "reader", "CreateContainerConfigError")
    assert message == 'configmap "settings" not found'
    await cluster.apply(SETTINGS)
    await cluster.ready("reader")


VOLUMES = """volumes:
  - {name: scratch, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - {name: key, secret: {secretName: key, items: [{key: word, path: deep/word}]}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
"""
MOUNTS = [
    {"name": "scratch", "mountPath": "/scratch"},
    {"name": "settings", "mountPath": "/etc/settings"},
    {"name": "key", "mountPath": "/etc/key", "readOnly": True},
    {"name": "about", "mountPath": "/etc/about"},
]


@both_runtimes
async def test_volumes_hold_what_they_are_made_of_and_follow_it(cluster: Cluster) -> None:
    await cluster.apply(SETTINGS + "---" + pod("reader", spec=VOLUMES, volumeMounts=MOUNTS))
    await cluster.ready("reader")
    reader = cluster.pod("reader")
    said = await reader.exec(
        "sh",
        "-c",
        "cat /etc/settings/color /etc/settings/size /etc/key/deep/word /etc/about/labels",
    )
    assert said.stdout == b'blue7sesameapp="reader"'
    assert (await reader.exec("sh", "-c", "echo x > /scratch/x && cat /scratch/x")).stdout == b"x\n"
    refused = await reader.exec("sh", "-c", "echo x > /etc/key/x", check=False)
    assert refused.exit_code != 0
    assert b"Read-only file system" in refused.stderr

    await cluster.apply(SETTINGS.replace("color: blue", "color: green"))
    async with asyncio.timeout(10):
        while (await reader.exec("cat", "/etc/settings/color")).stdout != b"green":
            pass


@both_runtimes
async def test_files_of_a_pod_are_its_own(cluster: Cluster) -> None:
    await cluster.apply(pod("one") + "---" + pod("two"))
    await cluster.ready("one", "two")
    mark = uuid.uuid4().hex
    await cluster.pod("one").exec("sh", "-c", f"echo {mark} > /tmp/{mark}")
    assert (await cluster.pod("two").exec("ls", f"/tmp/{mark}", check=False)).exit_code != 0
    assert (await cluster.pod("one").exec("cat", "/etc/hostname")).stdout == b"one\n"
    resolver = (await cluster.pod("one").exec("cat", "/etc/resolv.conf")).stdout.decode()
    assert resolver.splitlines() == [
        "nameserver 10.96.0.10",
        f"search {cluster.namespace}.svc.cluster.local svc.cluster.local cluster.local",
        "options ndots:5",
    ]


# --- probes ----------------------------------------------------------------------------------------


@both_runtimes
@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"path": "/", "port": 80}},
        {"tcpSocket": {"port": 80}},
        {"exec": {"command": ["sh", "-c", "curl -s localhost"]}},
    ],
    ids=["httpGet", "tcpSocket", "exec"],
)
async def test_readiness_follows_each_kind_of_probe(cluster: Cluster, probe: Json) -> None:
    asked = {**probe, "periodSeconds": 1, "failureThreshold": 1}
    serve = "while [ -e /tmp/shut ]; do sleep 0.02; done; exec python3 -m http.server 80"
    await cluster.apply(
        pod("probed", command=["sh", "-c", f"touch /tmp/shut; {serve}"], readinessProbe=asked)
    )
    await phase(cluster, "probed", "Running")
    unhealthy = await events(cluster, "probed", "Unhealthy")
    assert unhealthy[0]["message"].startswith("Readiness probe failed: ")
    assert not containers(await cluster.get(pod_path(cluster, "probed")))[0]["ready"]
    await cluster.pod("probed").exec("rm", "/tmp/shut")
    await cluster.ready("probed")


@both_runtimes
async def test_a_failed_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    alive = {"exec": {"command": ["test", "!", "-e", "/tmp/ill"]}, "periodSeconds": 1}
    await cluster.apply(pod("mortal", livenessProbe={**alive, "failureThreshold": 1}))
    await cluster.ready("mortal")
    await cluster.pod("mortal").exec("touch", "/tmp/ill")
    await until(
        cluster,
        pod_path(cluster, "mortal"),
        lambda found: any(one["restartCount"] == 1 and one["ready"] for one in containers(found)),
        "it was started again",
    )
    killed = await events(cluster, "mortal", "Killing")
    messages = [event["message"] for event in killed]
    assert "Container c failed liveness probe, will be restarted" in messages


# --- images ----------------------------------------------------------------------------------------


async def test_an_unknown_image_says_how_to_add_it_and_runs_once_it_is_added(
    cluster: Cluster,
) -> None:
    image = f"example.com/shop-{uuid.uuid4().hex[:6]}"
    await cluster.apply(pod("shop", image=f"{image}:1.0", command=None))
    message = await waits(cluster, "shop", "ErrImagePull")
    assert f"podwire images add {image} -- COMMAND..." in message
    failed = await events(cluster, "shop", "Failed")
    assert any(image in event["message"] for event in failed)

    words = ["images", "add", image, "--kubeconfig", str(cluster.kubeconfig), "--"]
    program = ["python3", "-m", "http.server", "8000"]
    await asyncio.to_thread(subprocess.run, [*PODWIRE, *words, *program], check=True)
    await cluster.ready("shop")
    (pulled,) = await events(cluster, "shop", "Pulled")
    assert "python3 (added)" in pulled["message"]


@both_runtimes
@pytest.mark.parametrize("policy", ["Always", "Never"])
async def test_another_image_starts_the_container_again(cluster: Cluster, policy: str) -> None:
    other = "podwire/web:test"
    await cluster.apply(pod("changed", spec=f"restartPolicy: {policy}"))
    await cluster.ready("changed")
    before = await cluster.get(pod_path(cluster, "changed"))
    await cluster.apply(pod("changed", spec=f"restartPolicy: {policy}", image=other))
    found = await until(
        cluster,
        pod_path(cluster, "changed"),
        lambda found: any(one["restartCount"] == 1 and one["ready"] for one in containers(found)),
        "it was started again",
    )
    assert found is not None
    (one,) = containers(found)
    assert one["image"] == other
    assert one["lastState"]["terminated"]["exitCode"] == 137
    for same in ("podIP", "startTime", "phase"):
        assert found["status"][same] == before["status"][same]
    (killed,) = await events(cluster, "changed", "Killing")
    assert killed["message"] == "Container c definition changed, will be restarted"


async def test_a_pod_that_waits_for_its_image_is_given_another(
    cluster: Cluster, kubectl: Kubectl
) -> None:
    await cluster.apply(pod("mistyped", image="podwire/shel:test"))
    await waits(cluster, "mistyped", "ImagePullBackOff")
    words = ("set", "image", "pod/mistyped", f"c={SHELL}")
    assert await asyncio.to_thread(kubectl.said, *words) == "pod/mistyped image updated\n"
    await cluster.ready("mistyped")
    (one,) = containers(await cluster.get(pod_path(cluster, "mistyped")))
    assert (one["image"], one["restartCount"]) == (SHELL, 0)


async def test_the_event_says_what_runs_for_an_image(cluster: Cluster) -> None:
    await cluster.apply(pod("web", image="podwire/web", command=None))
    await cluster.ready("web")
    pulled = await events(cluster, "web", "Pulled")
    assert "built-in web server on port 80" in pulled[0]["message"]
