"""What a pod may not do to the machine that it runs on, and what it gets instead."""

from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster

SHELL = """
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: busybox
    command: [sleep, infinity]
"""


def on_this_machine(*paths: str) -> list[str]:
    return [path for path in paths if Path(path).exists()]


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -o remount,rw,bind /etc && touch /etc/podwire-was-here",
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "touch /usr/podwire-was-here",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo h > /proc/sysrq-trigger",
        "ip link add podwire-test type bridge",
        "test -e /dev/vda -o -e /dev/sda -o -e /dev/mem",
    ],
)
async def test_a_pod_cannot(cluster: Cluster, attempt: str) -> None:
    await cluster.apply(SHELL)
    await cluster.ready("shell")
    done = await cluster.pod("shell").exec("sh", "-c", attempt, check=False)
    assert done.exit_code != 0, done.stdout
    assert not on_this_machine("/etc/podwire-was-here", "/usr/podwire-was-here")


@pytest.mark.parametrize(
    "attempt",
    [
        "touch /tmp/x /var/x /run/x /dev/shm/x",
        "echo hello > /dev/stdout",
        "head -c 8 /dev/urandom",
        "test -d /sys/class/net/eth0",
        "test ! -e /sys/class/net/podwire-test",
        "test -S /run/podwire/api.sock && exit 1 || exit 0",
    ],
)
async def test_a_pod_can(cluster: Cluster, attempt: str) -> None:
    await cluster.apply(SHELL)
    await cluster.ready("shell")
    await cluster.pod("shell").exec("sh", "-c", attempt)


async def test_a_pod_that_asks_for_net_admin_gets_it_for_its_own_network(cluster: Cluster) -> None:
    asks = SHELL + "    securityContext: {capabilities: {add: [NET_ADMIN]}}\n"
    await cluster.apply(asks)
    await cluster.ready("shell")
    await cluster.pod("shell").exec("ip", "link", "add", "mine", "type", "bridge")
    assert not on_this_machine("/sys/class/net/mine")


async def test_a_sub_path_cannot_lead_out_of_its_volume(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.apply(
        f"""
apiVersion: v1
kind: Pod
metadata: {{name: climber}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  volumes: [{{name: e, emptyDir: {{}}}}]
  initContainers:
  - name: link
    image: busybox
    command: [ln, -s, {tmp_path}, /e/x]
    volumeMounts: [{{name: e, mountPath: /e}}]
  containers:
  - name: climb
    image: busybox
    command: [touch, /sub/podwire-was-here]
    volumeMounts: [{{name: e, mountPath: /sub, subPath: x}}]
"""
    )
    reasons = set[str]()
    for _ in range(100):
        path = f"/api/v1/namespaces/{cluster.namespace}/events"
        reasons = {event["reason"] for event in (await cluster.get(path))["items"]}
        if reasons & {"Failed", "FailedMount"}:
            break
    else:
        pytest.fail(f"nothing says that the volume is refused: {reasons}")
    assert not on_this_machine(str(tmp_path / "podwire-was-here"))


@pytest.mark.parametrize(
    "path",
    ["/data", "/data/deep", "/var/run/cm", "/var/lib/x", "/etc/x/y", "/opt/app", "/run/secrets/a"],
)
async def test_a_volume_appears_wherever_it_is_mounted(cluster: Cluster, path: str) -> None:
    await cluster.apply(
        f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: cm}}
data: {{key: value}}
---
apiVersion: v1
kind: Pod
metadata: {{name: reader}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{name: cm, configMap: {{name: cm}}}}]
  containers:
  - name: shell
    image: busybox
    workingDir: /no/such/directory
    command: [sleep, infinity]
    volumeMounts: [{{name: cm, mountPath: {path}}}]
"""
    )
    await cluster.ready("reader")
    shown = await cluster.pod("reader").exec("cat", f"{path}/key")
    assert shown.stdout == b"value"


async def test_a_volume_appears_inside_another_one(cluster: Cluster) -> None:
    await cluster.apply(
        """
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: cm, configMap: {name: cm}}, {name: e, emptyDir: {}}]
  containers:
  - name: shell
    image: busybox
    command: [sleep, infinity]
    volumeMounts:
    - {name: cm, mountPath: /data/conf/key, subPath: key}
    - {name: e, mountPath: /data}
    - {name: cm, mountPath: /srv/e/conf}
    - {name: e, mountPath: /srv/e}
"""
    )
    await cluster.ready("reader")
    shown = await cluster.pod("reader").exec("cat", "/data/conf/key", "/srv/e/conf/key")
    assert shown.stdout == b"valuevalue"
