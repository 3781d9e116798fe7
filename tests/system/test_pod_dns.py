"""What a pod gets: its resolv.conf, its names, volumes that follow, and the names of a StatefulSet."""

from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster
from tests.system.command_line import User
from tests.system.conftest import CLIENT, SHELL, both_runtimes
from tests.system.pods import events, pod
from tests.system.until import Json, items, pod_path, until

LINES = "nameserver 10.96.0.10\nsearch NS.svc.cluster.local svc.cluster.local cluster.local"


def names_of(namespace: str) -> str:
    return f"{namespace}.svc.cluster.local"


async def said(cluster: Cluster, name: str, *command: str) -> str:
    """Return what a command prints in a pod, with NS for the namespace."""
    done = await cluster.pod(name).exec(*command)
    return done.stdout.decode().replace(cluster.namespace, "NS")


# --- resolv.conf -----------------------------------------------------------------------------------


@both_runtimes
@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("", f"{LINES}\noptions ndots:5\n"),
        ("dnsPolicy: ClusterFirstWithHostNet\n  hostNetwork: true", f"{LINES}\noptions ndots:5\n"),
        (
            "dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2], "
            "searches: [a.example, _tcp.b.example, .], options: [{name: ndots, value: '2'}, {name: edns0}]}",
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"
            "search a.example _tcp.b.example .\noptions ndots:2 edns0\n",
        ),
        (
            "dnsConfig: {nameservers: [192.0.2.1], searches: [a.example, svc.cluster.local], "
            "options: [{name: ndots, value: '2'}]}",
            LINES.replace("\nsearch", "\nnameserver 192.0.2.1\nsearch") + " a.example\noptions ndots:2\n",
        ),
    ],
    ids=["usual", "in the node's network", "none of the cluster's", "with more"],
)  # fmt: skip
async def test_a_pods_resolver_is_as_its_policy_says(
    cluster: Cluster, spec: str, lines: str
) -> None:
    await cluster.apply(pod("client", spec=spec.replace("None", "'None'")))
    await cluster.ready("client")
    assert await said(cluster, "client", "cat", "/etc/resolv.conf") == lines


@both_runtimes
@pytest.mark.parametrize("spec", ["dnsPolicy: Default", "hostNetwork: true"])
async def test_a_pod_with_the_nodes_resolver_asks_where_nobody_answers(
    cluster: Cluster, spec: str
) -> None:
    await cluster.apply(pod("client", spec=spec))
    await cluster.ready("client")
    (line,) = (await said(cluster, "client", "cat", "/etc/resolv.conf")).splitlines()
    assert line.startswith("nameserver ")
    assert not line.endswith(" 10.96.0.10")
    # At once, each time: the cluster has no way out, and nobody has to wait for that.
    ask = "for n in 1 2 3 4 5 6 7 8; do timeout 4 getent hosts example.com; echo $?; done"
    assert await said(cluster, "client", "sh", "-c", ask) == "2\n" * 8


async def test_what_does_not_fit_is_left_out_with_a_warning(cluster: Cluster) -> None:
    searches = ", ".join(f"d{number}.example" for number in range(30))
    spec = f"dnsConfig: {{nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3], searches: [{searches}]}}"
    await cluster.apply(pod("client", spec=spec))
    await cluster.ready("client")
    read = await said(cluster, "client", "cat", "/etc/resolv.conf")
    lines = dict.fromkeys(line.partition(" ")[0] for line in read.splitlines())
    assert list(lines) == ["nameserver", "search", "options"]
    assert read.count("nameserver ") == 3
    assert "192.0.2.3" not in read
    assert " d28.example\n" in read
    assert "d29.example" not in read
    await until(
        cluster,
        f"/api/v1/namespaces/{cluster.namespace}/events",
        lambda found: {"Nameserver", "Search"} <= {
            one["message"].split()[0]
            for one in items(found)
            if one["reason"] == "DNSConfigForming" and one["type"] == "Warning"
        },
        "warnings about both limits",
    )  # fmt: skip


# --- names -----------------------------------------------------------------------------------------

HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: db, port: 5432, targetPort: 80}]
---
"""


@both_runtimes
@pytest.mark.parametrize(
    ("spec", "short", "whole"),
    [
        ("", "client", "client"),
        ("hostname: first", "first", "first"),
        ("hostname: first\n  subdomain: db", "first", "first.db.NS.svc.cluster.local"),
        (
            "hostname: first\n  subdomain: db\n  setHostnameAsFQDN: true",
            "first.db.NS.svc.cluster.local",
            "first.db.NS.svc.cluster.local",
        ),
    ],
    ids=["its own", "another", "with a domain", "whole"],
)
async def test_what_a_pod_is_called_from_inside(
    cluster: Cluster, spec: str, short: str, whole: str
) -> None:
    await cluster.apply(pod("client", spec=spec))
    await cluster.ready("client")
    assert await said(cluster, "client", "hostname") == f"{short}\n"
    assert await said(cluster, "client", "cat", "/etc/hostname") == f"{short}\n"
    assert await said(cluster, "client", "hostname", "-f") == f"{whole}\n"
    assert await said(cluster, "client", "sh", "-c", "echo $HOSTNAME") == f"{short}\n"
    found = await cluster.get(pod_path(cluster, "client"))
    own = await said(cluster, "client", "getent", "hosts", whole.replace("NS", cluster.namespace))
    assert own.split()[0] == found["status"]["podIP"]


NEVER_READY = f"""
apiVersion: v1
kind: Pod
metadata: {{name: late, labels: {{app: db}}}}
spec:
  terminationGracePeriodSeconds: 0
  hostname: first
  subdomain: db
  containers:
  - name: main
    image: {SHELL}
    command: [sleep, infinity]
    readinessProbe: {{exec: {{command: ["false"]}}}}
---
"""


@pytest.mark.parametrize("published", [True, False])
async def test_a_pod_that_is_not_ready_has_a_name_if_its_service_says_so(
    cluster: Cluster, *, published: bool
) -> None:
    early = "clusterIP: None\n  publishNotReadyAddresses: " + str(published).lower()
    await cluster.apply(HEADLESS.replace("clusterIP: None", early) + NEVER_READY + CLIENT)
    await cluster.ready("client")
    found = await until(
        cluster,
        pod_path(cluster, "late"),
        lambda pod: (pod or {}).get("status", {}).get("podIP"),
        "it has an address",
    )
    assert found is not None
    name = f"first.db.{names_of(cluster.namespace)}"
    address = found["status"]["podIP"] if published else ""
    await until(
        cluster,
        f"/apis/discovery.k8s.io/v1/namespaces/{cluster.namespace}/endpointslices",
        lambda slices: (
            [
                end["conditions"]["ready"]
                for one in items(slices)
                for end in one.get("endpoints") or ()
            ]
            == [published]
        ),
        "it is an endpoint",
    )
    await asked_until(cluster, f'test "$(dig +short {name})" = "{address}"')


async def asked_until(cluster: Cluster, true: str) -> None:
    """Return when a shell command in the client succeeds.

    It has to, several times: there are two DNS servers, and each hears of a change by itself.
    """
    each = f"until {true} >/dev/null; do sleep 0.05; done"
    await cluster.pod("client").exec(
        "timeout", "15", "bash", "-c", f"for n in 1 2 3 4; do {each}; done"
    )


async def test_a_pod_in_its_nodes_network_has_its_nodes_name(cluster: Cluster) -> None:
    await cluster.apply(pod("client", spec="hostNetwork: true\n  hostname: first\n  subdomain: db"))
    await cluster.ready("client")
    node = (await cluster.get(pod_path(cluster, "client")))["spec"]["nodeName"]
    assert await said(cluster, "client", "hostname") == f"{node}\n"
    assert await said(cluster, "client", "hostname", "-f") == f"{node}\n"
    hosts = await said(cluster, "client", "cat", "/etc/hosts")
    assert hosts.startswith("# Kubernetes-managed hosts file (host network).\n")
    unknown = await cluster.pod("client").exec("getent", "hosts", "first", check=False)
    assert unknown.exit_code == 2


@both_runtimes
async def test_aliases_are_in_the_hosts_file(cluster: Cluster) -> None:
    aliases = "hostAliases: [{ip: 192.0.2.7, hostnames: [a.example, b.example]}]"
    await cluster.apply(pod("client", spec=aliases))
    await cluster.ready("client")
    found = await said(cluster, "client", "getent", "hosts", "b.example")
    assert found.split() == ["192.0.2.7", "a.example", "b.example"]


async def test_a_whole_name_that_is_too_long_keeps_the_pod_from_starting(cluster: Cluster) -> None:
    long = "a" * 50
    spec = f"hostname: {long}\n  subdomain: db\n  setHostnameAsFQDN: true"
    await cluster.apply(pod("client", spec=spec))
    (event, *_) = await events(cluster, "client", "FailedCreatePodSandBox")
    whole = f"{long}.db.{names_of(cluster.namespace)}"
    assert event["message"] == (
        "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster "
        f"domain, FQDN {whole} is too long (64 characters is the max, {len(whole)} characters "
        "requested)"
    )
    assert (await cluster.get(pod_path(cluster, "client")))["status"]["phase"] == "Pending"


# --- a StatefulSet ---------------------------------------------------------------------------------

DB = (
    HEADLESS
    + """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: db
        image: podwire/web:test
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
"""
)


async def addresses(cluster: Cluster) -> dict[str, str]:
    """Return the pods of the set by name."""
    return {
        one["metadata"]["name"]: one["status"].get("podIP", "")
        for one in await cluster.pods("app=db")
    }


@both_runtimes
async def test_the_names_of_a_stateful_set_follow_its_pods(cluster: Cluster) -> None:
    await cluster.apply(DB + CLIENT)
    await cluster.ready("db", "client")
    # The members find each other, as peer-finder does: the SRV records of the Service.
    await asked_until(
        cluster, f"test $(dig +short db.{names_of(cluster.namespace)} SRV | wc -l) = 3"
    )
    records = await said(
        cluster, "client", "dig", "+short", f"db.{names_of(cluster.namespace)}", "SRV"
    )
    assert sorted(records.splitlines()) == [
        f"0 33 80 db-{number}.db.NS.svc.cluster.local." for number in range(3)
    ]
    before = await addresses(cluster)
    assert sorted(before) == ["db-0", "db-1", "db-2"]
    for name, address in before.items():
        found = await said(cluster, "client", "getent", "hosts", f"{name}.db")
        assert found.split() == [address, f"{name}.db.NS.svc.cluster.local"]
        assert await said(cluster, name, "hostname", "-f") == f"{name}.db.NS.svc.cluster.local\n"
    uid = (await cluster.get(pod_path(cluster, "db-1")))["metadata"]["uid"]
    await cluster.delete("pod/db-1")

    def replaced(found: Json | None) -> bool:
        return found is not None and found["metadata"]["uid"] != uid

    await until(cluster, pod_path(cluster, "db-1"), replaced, "db-1 is made anew")
    await cluster.ready("db")
    after = await addresses(cluster)
    assert sorted(after) == ["db-0", "db-1", "db-2"]
    await asked_until(cluster, f'test "$(dig +short +search db-1.db)" = {after["db-1"]}')
    reverse = await said(cluster, "client", "dig", "+short", "-x", after["db-1"])
    assert reverse == "db-1.db.NS.svc.cluster.local.\n"
    # Fewer: the last goes first, and its name with it.
    await cluster.scale("statefulset/db", 1)
    await asked_until(cluster, f"test $(dig +short db.{names_of(cluster.namespace)} | wc -l) = 1")
    gone = await cluster.pod("client").exec("getent", "hosts", "db-2.db", check=False)
    assert gone.exit_code == 2
    assert list(await addresses(cluster)) == ["db-0"]


# --- volumes that follow ---------------------------------------------------------------------------

SETTINGS = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{color: blue, size: '1'}}
---
apiVersion: v1
kind: Secret
metadata: {{name: key}}
stringData: {{token: old}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {SHELL}
    command: [sleep, infinity]
    volumeMounts:
    - {{name: settings, mountPath: /etc/settings}}
    - {{name: settings, mountPath: /etc/color, subPath: color}}
    - {{name: all, mountPath: /etc/all}}
  volumes:
  - {{name: settings, configMap: {{name: settings, defaultMode: 0444}}}}
  - name: all
    projected:
      sources:
      - {{secret: {{name: key}}}}
      - {{configMap: {{name: late, optional: true}}}}
"""


@both_runtimes
async def test_mounted_config_maps_and_secrets_follow_changes(cluster: Cluster) -> None:
    await cluster.apply(SETTINGS)
    await cluster.ready("client")
    listed = await said(cluster, "client", "ls", "-A", "/etc/settings")
    (stamped,) = [name for name in listed.split() if name.startswith("..20")]
    assert sorted(listed.split()) == sorted([stamped, "..data", "color", "size"])
    assert await said(cluster, "client", "readlink", "/etc/settings/..data") == f"{stamped}\n"
    assert await said(cluster, "client", "readlink", "/etc/settings/color") == "..data/color\n"
    mode = await said(cluster, "client", "stat", "-L", "-c", "%a", "/etc/settings/color")
    assert mode == "444\n"
    await cluster.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red, shape: round}}"
    )
    await asked_until(cluster, "grep red /etc/settings/color")
    assert (await said(cluster, "client", "ls", "/etc/settings")).split() == ["color", "shape"]
    # A file that was mounted by itself stays what it was, as in Kubernetes.
    assert await said(cluster, "client", "cat", "/etc/color") == "blue"
    await cluster.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {token: new}}"
    )
    await asked_until(cluster, "grep new /etc/all/token")
    await cluster.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: late}, data: {x: here}}"
    )
    await asked_until(cluster, "grep here /etc/all/x")
    await cluster.delete("configmap/late")
    await asked_until(cluster, "test ! -e /etc/all/x")
    assert await said(cluster, "client", "ls", "/etc/all") == "token\n"


# --- the nodes' resolver ---------------------------------------------------------------------------


def test_what_the_nodes_resolver_has_reaches_nodes_and_pods(user: User, tmp_path: Path) -> None:
    resolver = "nameserver 203.0.113.10\nsearch corp.example\noptions timeout:1\n"
    file, manifest = tmp_path / "nodes.conf", tmp_path / "pods.yaml"
    file.write_text(resolver)
    manifest.write_text(pod("usual") + "---" + pod("nodes", spec="dnsPolicy: Default"))
    user.up("--nodes", "1", "--resolv-conf", str(file), "-f", str(manifest))

    def read(*place: str) -> str:
        return user.podwire("exec", *place, "--", "cat", "/etc/resolv.conf").stdout

    assert read("node/node-1") == resolver
    # So has CoreDNS, whose policy this is.
    assert read("nodes") == resolver
    assert read("usual") == (
        "nameserver 10.96.0.10\n"
        "search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "options ndots:5\n"
    )
