"""Names as a pod sees them: `dig` against CoreDNS through its ClusterIP."""

import re
from dataclasses import dataclass

import pytest

from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.conftest import CLIENT, both_runtimes
from tests.system.until import Json, items, until

NAMES = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  hostname: first
  subdomain: headless
  containers: [{name: web, image: podwire/web:test, ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: podwire/web:test, ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8080, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {type: ExternalName, externalName: web.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {type: ExternalName, externalName: headless.NAMESPACE.svc.cluster.local}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What dig printed; records are written `name type data`, in order of the text."""

    status: str
    flags: frozenset[str]
    server: str
    answer: tuple[str, ...]
    authority: tuple[str, ...]
    additional: tuple[str, ...]


def parsed(text: str) -> Answer:
    """Read dig's output."""

    def found(pattern: str) -> str:
        match = re.search(pattern, text)
        assert match, text
        return match[1]

    def section(name: str) -> tuple[str, ...]:
        match = re.search(rf"^;; {name} SECTION:\n((?:[^;\n].*\n)+)", text, re.MULTILINE)
        lines = match[1].splitlines() if match else []
        records = [line.split(None, 4) for line in lines]
        return tuple(sorted(f"{name} {kind} {data}" for name, _, _, kind, data in records))

    return Answer(
        found(r"status: (\w+)"),
        frozenset(found(r";; flags: ([\w ]+);").split()),
        found(r";; SERVER: (\S+ ?\S*)"),
        section("ANSWER"),
        section("AUTHORITY"),
        section("ADDITIONAL"),
    )


@pytest.fixture
async def names(cluster: Cluster) -> Cluster:
    """Give a cluster with Services of each kind, whose names CoreDNS knows, and a client."""
    need("dig")
    await cluster.apply(NAMES.replace("NAMESPACE", cluster.namespace) + "---" + CLIENT)
    await cluster.ready("one", "two", "client")
    base = f"/apis/discovery.k8s.io/v1/namespaces/{cluster.namespace}/endpointslices"

    def whole(found: Json | None) -> bool:
        ready = [
            [end["conditions"].get("ready") for end in one.get("endpoints") or ()]
            for one in items(found)
        ]
        return ready == [[True, True]] * 2

    await until(cluster, base, whole, "both Services have both endpoints")
    # CoreDNS hears of it when the API has stored it: a moment later.
    await cluster.pod("client").exec(
        *("timeout", "10", "bash", "-c"),
        f"until [ $(dig +short headless.{cluster.namespace}.svc.cluster.local | wc -l) = 2 ]; do :; done",
    )
    return cluster


async def dig(cluster: Cluster, *words: str) -> Answer:
    """Ask as a pod does; NS in a word stands for the namespace, as .Z for its zone."""
    zone = f".{cluster.namespace}.svc.cluster.local."
    asked = [re.sub(r"\.Z$", zone, word) for word in words]
    done = await cluster.pod("client").exec("dig", "+tries=2", "+time=3", *asked)
    text = done.stdout.decode().replace(cluster.namespace, "NS")
    return parsed(text.replace(".NS.svc.cluster.local.", ".Z"))


async def address_of(cluster: Cluster, kind: str, name: str) -> str:
    found = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/{kind}/{name}")
    address: str = found["status"]["podIP"] if kind == "pods" else found["spec"]["clusterIP"]
    return address


def dashed(address: str) -> str:
    return address.replace(".", "-")


SOA = "cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local."


async def test_a_service_has_its_cluster_ip(names: Cluster) -> None:
    answer = await dig(names, "web.Z", "A")
    assert answer.status == "NOERROR"
    assert answer.answer == (f"web.Z A {await address_of(names, 'services', 'web')}",)
    assert {"qr", "aa", "rd"} <= answer.flags
    assert answer.server.startswith("10.96.0.10#53")


async def test_a_service_without_ipv6_has_no_data_and_a_zone(names: Cluster) -> None:
    answer = await dig(names, "web.Z", "AAAA")
    assert (answer.status, answer.answer) == ("NOERROR", ())
    assert len(answer.authority) == 1
    assert answer.authority[0].startswith(SOA)


@pytest.mark.parametrize(
    "name", ["nobody.Z", "nobody.web.Z", "web.nowhere.svc.cluster.local.", "x.cluster.local."]
)
async def test_a_name_that_does_not_exist_is_denied_by_its_zone(names: Cluster, name: str) -> None:
    answer = await dig(names, name, "A")
    assert (answer.status, answer.answer) == ("NXDOMAIN", ())
    assert len(answer.authority) == 1
    assert answer.authority[0].startswith(SOA)


async def test_a_named_port_has_a_service_record_and_the_address_of_its_target(
    names: Cluster,
) -> None:
    answer = await dig(names, "_http._tcp.web.Z", "SRV")
    assert answer.answer == ("_http._tcp.web.Z SRV 0 100 8080 web.Z",)
    address = await address_of(names, "services", "web")
    assert f"web.Z A {address}" in answer.additional


@both_runtimes
async def test_a_headless_service_has_its_pods(names: Cluster) -> None:
    one, two = [await address_of(names, "pods", name) for name in ("one", "two")]
    answer = await dig(names, "headless.Z", "A")
    assert answer.answer == tuple(sorted([f"headless.Z A {one}", f"headless.Z A {two}"]))
    named = await dig(names, "first.headless.Z", "A")
    assert named.answer == (f"first.headless.Z A {one}",)
    unnamed = await dig(names, f"{dashed(two)}.headless.Z", "A")
    assert unnamed.answer == (f"{dashed(two)}.headless.Z A {two}",)
    records = await dig(names, "_http._tcp.headless.Z", "SRV")
    assert records.answer == tuple(
        sorted(
            [
                "_http._tcp.headless.Z SRV 0 50 80 first.headless.Z",
                f"_http._tcp.headless.Z SRV 0 50 80 {dashed(two)}.headless.Z",
            ]
        )
    )
    assert {f"first.headless.Z A {one}", f"{dashed(two)}.headless.Z A {two}"} <= set(
        records.additional
    )


async def test_an_external_name_is_an_alias_followed_where_we_know_it(names: Cluster) -> None:
    far = await dig(names, "far.Z", "A")
    assert far.answer == ("far.Z CNAME web.example.com.",)
    near = await dig(names, "near.Z", "A")
    assert "near.Z CNAME headless.Z" in near.answer
    assert len(near.answer) == 3


async def test_addresses_have_names(names: Cluster) -> None:
    service, pod = [
        await address_of(names, *what) for what in (("services", "web"), ("pods", "one"))
    ]
    answer = await dig(names, "-x", service)
    assert [record.split()[-1] for record in answer.answer] == ["web.Z"]
    # One for each Service that the pod is an endpoint of.
    answer = await dig(names, "-x", pod)
    assert [record.split()[-1] for record in answer.answer] == [
        f"{dashed(pod)}.web.Z",
        "first.headless.Z",
    ]


async def test_a_pods_address_is_a_name(names: Cluster) -> None:
    pod = await address_of(names, "pods", "one")
    name = f"{dashed(pod)}.{names.namespace}.pod.cluster.local."
    assert [record.split()[-1] for record in (await dig(names, name, "A")).answer] == [pod]


@both_runtimes
async def test_tcp_answers_as_udp_does(names: Cluster) -> None:
    by_udp, by_tcp = [await dig(names, way, "headless.Z", "A") for way in ("+notcp", "+tcp")]
    assert by_udp.answer == by_tcp.answer
    assert "(TCP)" in by_tcp.server
    assert "(UDP)" in by_udp.server


@pytest.mark.parametrize("name", ["web", "web.NS", "web.NS.svc", "web.NS.svc.cluster.local"])
async def test_the_search_path_finds_a_service_under_each_of_its_names(
    names: Cluster, name: str
) -> None:
    short = name.replace("NS", names.namespace)
    answer = await dig(names, "+search", short)
    assert answer.answer == (f"web.Z A {await address_of(names, 'services', 'web')}",)


@both_runtimes
async def test_a_new_endpoint_is_named_and_an_old_one_is_forgotten(names: Cluster) -> None:
    two = await address_of(names, "pods", "two")
    await names.delete("pod/one", grace=0)
    await names.pod("client").exec(
        *("timeout", "10", "bash", "-c"),
        f'until [ "$(dig +short headless.{names.namespace}.svc.cluster.local)" = {two} ]; do :; done',
    )
    assert (await dig(names, "first.headless.Z", "A")).status == "NXDOMAIN"
