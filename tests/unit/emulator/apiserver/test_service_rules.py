"""What Services, EndpointSlices and Endpoints may say: tables in the server's own words."""

from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission import advice
from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ENDPOINTS = "/api/v1/namespaces/default/endpoints"

PORT = "must be between 1 and 65535, inclusive"
NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
BALANCED = "Forbidden: may only be used when `type` is 'LoadBalancer'"
SUBDOMAIN = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
MODE = "service.kubernetes.io/topology-mode"
HINTS = "service.kubernetes.io/topology-aware-hints"


def service(text: str, **annotations: str) -> Json:
    spec: Json = {"ports": [{"port": 80}], **(yaml.safe_load(text) or {})}
    return {"metadata": {"name": "s", "annotations": annotations}, "spec": spec}


def refused(server: SilentServer, what: str, body: Json) -> list[str]:
    """Return every message of a refusal, none if the server took *body*."""
    code, answer = server.ask(what, body)
    causes: list[Json] = answer.get("details", {}).get("causes", [])
    assert bool(causes) == (code >= 400), answer
    return [f"{cause['field']}: {cause['message']}" for cause in causes]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # Who may come in through a load balancer.
        ("{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8, ' 192.0.2.0/24 ']}", []),
        ("{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8, ten]}", [f'spec.LoadBalancerSourceRanges[1]: Invalid value: "ten": {NETWORK}']),
        ("{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1]}", [f'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.1": {NETWORK}']),
        ("{loadBalancerSourceRanges: [10.0.0.0/8]}", [f"spec.LoadBalancerSourceRanges: {BALANCED}"]),
        ("{allocateLoadBalancerNodePorts: false}", [f"spec.allocateLoadBalancerNodePorts: {BALANCED}"]),
        ("{type: LoadBalancer, loadBalancerClass: example.org/x}", []),
        ("{loadBalancerClass: example.org/x}", [f"spec.loadBalancerClass: {BALANCED}"]),
        ("{type: NodePort, healthCheckNodePort: 30500}", ["spec.healthCheckNodePort: Invalid value: 30500: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"]),
        # Policies.
        ("{internalTrafficPolicy: Local}", []),
        ("{internalTrafficPolicy: Near}", ['spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"']),
        ("{type: NodePort, externalTrafficPolicy: Local}", []),
        ("{type: NodePort, externalTrafficPolicy: Near}", ['spec.externalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"']),
        ("{externalTrafficPolicy: Local}", ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services']),
        ("{externalIPs: [192.0.2.1], externalTrafficPolicy: Local}", []),
        *((f"{{trafficDistribution: {word}}}", []) for word in ("PreferClose", "PreferSameZone", "PreferSameNode")),
        ("{trafficDistribution: Near}", ['spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"']),
        # Affinity.
        ("{sessionAffinity: ClientIP}", []),
        *((f"{{sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}}}", []) for seconds in (1, 86400)),
        *(
            (f"{{sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}}}", [f"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {seconds}: must be greater than 0 and less than 86400"])
            for seconds in (-1, 0, 86401)
        ),
        # External addresses.
        ("{externalIPs: [192.0.2.1, 10.96.0.1]}", []),
        ("{externalIPs: [0.0.0.0]}", ['spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)']),
        ("{externalIPs: [127.0.0.1]}", ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
        ("{externalIPs: [169.254.1.1]}", ['spec.externalIPs[0]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)']),
        ("{externalIPs: [224.0.0.5]}", ['spec.externalIPs[0]: Invalid value: "224.0.0.5": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)']),
        ("{externalIPs: [lb]}", ['spec.externalIPs[0]: Invalid value: "lb": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        # Ports.
        ("{ports: [{port: 80, protocol: SCTP}]}", []),
        ("{ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}, {name: c, port: 53, protocol: SCTP}]}", []),
        ("{ports: [{port: 80, targetPort: web}]}", []),
        ("{ports: [{port: 80, targetPort: 70000}]}", [f"spec.ports[0].targetPort: Invalid value: 70000: {PORT}"]),
        ("{ports: [{port: 0}]}", [f"spec.ports[0].port: Invalid value: 0: {PORT}", f"spec.ports[0].targetPort: Invalid value: 0: {PORT}"]),
        ("{type: LoadBalancer, ports: [{port: 10250}]}", ["spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"]),
        # Headless Services and other names.
        ("{clusterIP: None, ports: []}", []),
        ("{type: NodePort, clusterIP: None}", ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]),
        ("{type: ExternalName, externalName: example.org, ports: []}", []),
        ("{type: ExternalName, externalName: example.org, clusterIP: 10.96.0.9}", ["spec.clusterIPs: Forbidden: may not be set for ExternalName services"]),
        ("{type: ExternalName, externalName: example.org, ipFamilies: [IPv4], ipFamilyPolicy: SingleStack}", ["spec.ipFamilies: Forbidden: may not be set for ExternalName services", "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"]),
    ],
)  # fmt: skip
def test_services(server: SilentServer, spec: str, expected: list[str]) -> None:
    assert refused(server, f"POST {SERVICES}", service(spec)) == expected


@pytest.mark.parametrize(
    ("spec", "annotations", "expected"),
    [
        ("{type: LoadBalancer}", {RANGES: "10.0.0.0/8, 192.0.2.0/24"}, []),
        ("{type: LoadBalancer}", {RANGES: " "}, []),
        ("{type: LoadBalancer}", {RANGES: "ten"}, [f'metadata.annotations[{RANGES}]: Invalid value: "ten": {NETWORK}']),
        ("{}", {RANGES: "10.0.0.0/8"}, [f"metadata.annotations[{RANGES}]: {BALANCED}"]),
        ("{}", {MODE: "Auto", HINTS: "Auto"}, []),
        ("{}", {MODE: "Auto", HINTS: "Disabled"}, [f'metadata.annotations[{MODE}]: Invalid value: "Auto": must match annotations[{HINTS}] when both are specified']),
    ],
)  # fmt: skip
def test_annotations_of_services(
    server: SilentServer, spec: str, annotations: dict[str, str], expected: list[str]
) -> None:
    assert refused(server, f"POST {SERVICES}", service(spec, **annotations)) == expected


AT = "status.loadBalancer.ingress[0]"


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ("{ip: 192.0.2.77}", []),
        ("{ip: 192.0.2.77, ipMode: Proxy}", []),
        ("{hostname: lb.example.org}", []),
        ("{ip: 192.0.2.77, hostname: lb.example.org}", []),
        ("{ip: lb}", [f'{AT}.ip: Invalid value: "lb": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        ("{ip: 192.0.2.77, ipMode: Odd}", [f'{AT}.ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP"']),
        ("{hostname: a, ipMode: VIP}", [f"{AT}.ipMode: Forbidden: may not be specified when `ip` is not set"]),
        ("{hostname: A_b}", [f'{AT}.hostname: Invalid value: "A_b": {SUBDOMAIN}']),
        ("{hostname: 192.0.2.77}", [f'{AT}.hostname: Invalid value: "192.0.2.77": must be a DNS name, not an IP address']),
    ],
)  # fmt: skip
def test_what_a_load_balancer_may_report(
    server: SilentServer, ingress: str, expected: list[str]
) -> None:
    server.must(f"POST {SERVICES}", service("{type: LoadBalancer}"))
    body = server.must(f"GET {SERVICES}/s")
    body["status"] = {"loadBalancer": {"ingress": [yaml.safe_load(ingress)]}}
    assert refused(server, f"PUT {SERVICES}/s/status", body) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]", []),
        ("addressType: FQDN\nendpoints: [{addresses: [example.org, example.org.]}]", []),
        ("addressType: FQDN\nendpoints: [{addresses: [example]}]", ['endpoints[0].addresses[0]: Invalid value: "example": should be a domain with at least two segments separated by dots']),
        ("addressType: IP\nendpoints: []", ['addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"']),
        ("endpoints: []", ["addressType: Required value"]),
        ("addressType: IPv4\nendpoints: [{addresses: [x]}]", [f'endpoints[0].addresses[0]: Invalid value: "x": must be a valid {kind}' for kind in ("IPv4 address", "IP address")]),
        ("addressType: IPv4\nendpoints: [{addresses: ['fe80::1']}]", ['endpoints[0].addresses[0]: Invalid value: "fe80::1": must be a valid IPv4 address', 'endpoints[0].addresses[0]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)']),
        ("addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]", ['endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
        ("addressType: IPv4\nendpoints: [{addresses: []}]", ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], nodeName: N}]", [f'endpoints[0].nodeName: Invalid value: "N": {SUBDOMAIN}']),
        ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}], forNodes: [{name: node-1}]}}]", []),
        ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}, {name: a}]}}]", ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"']),
        ("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], hints: {forNodes: [{name: N}]}}]", [f'endpoints[0].hints.forNodes[0].name: Invalid value: "N": {SUBDOMAIN}']),
        *(
            (f"addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], hints: {{{name}: [{', '.join(f'{{name: n{n}}}' for n in range(9))}]}}}}]", [f"endpoints[0].hints.{name}: Too many: 9: must have at most 8 items"])
            for name in ("forZones", "forNodes")
        ),
        ("addressType: IPv4\nendpoints: []\nports: [{name: a, port: 1}, {name: a, port: 2}]", ['ports[1].name: Duplicate value: "a"']),
        ("addressType: IPv4\nendpoints: []\nports: [{name: a, protocol: HTTP}]", ['ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"']),
    ],
)  # fmt: skip
def test_slices(server: SilentServer, text: str, expected: list[str]) -> None:
    body = {"metadata": {"name": "e"}, **yaml.safe_load(text)}
    assert refused(server, f"POST {SLICES}", body) == expected


def test_how_much_a_slice_holds(server: SilentServer) -> None:
    def holding(count: int, each: int = 1) -> list[str]:
        endpoints = [{"addresses": [f"10.0.{n}.{m}" for m in range(each)]} for n in range(count)]
        for number, endpoint in enumerate(endpoints):
            if each == 1:
                endpoint["addresses"] = [f"10.1.{number // 250}.{number % 250}"]
        body = {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": endpoints}
        return refused(server, f"POST {SLICES}", body)

    assert holding(1001) == ["endpoints: Too many: 1001: must have at most 1000 items"]
    assert holding(1, 101) == ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]
    assert holding(1000) == []


def test_labels_of_the_old_api_are_ignored(server: SilentServer) -> None:
    endpoint = {"addresses": ["10.0.0.1"], "deprecatedTopology": {"a": "b"}}
    body: Json = {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [endpoint]}
    stored = server.must(f"POST {SLICES}", body)
    assert stored["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {}}]


def test_the_family_of_a_slice_stays(server: SilentServer) -> None:
    body: Json = {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": []}
    server.must(f"POST {SLICES}", body)
    assert refused(server, f"PUT {SLICES}/e", {**body, "addressType": "IPv6"}) == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("{addresses: [{ip: 203.0.113.1}], ports: [{port: 80}]}", []),
        ("{ports: [{port: 80}]}", ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        ("{addresses: [{ip: 127.0.0.1}]}", ['subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
        ("{notReadyAddresses: [{ip: 203.0.113.1, nodeName: N}]}", [f'subsets[0].notReadyAddresses[0].nodeName: Invalid value: "N": {SUBDOMAIN}']),
        ("{addresses: [{ip: 203.0.113.1}], ports: [{port: 80}, {port: 0, name: a}]}", ["subsets[0].ports[0].name: Required value", f"subsets[0].ports[1].port: Invalid value: 0: {PORT}"]),
    ],
)  # fmt: skip
def test_endpoints(server: SilentServer, subset: str, expected: list[str]) -> None:
    body = {"metadata": {"name": "e"}, "subsets": [yaml.safe_load(subset)]}
    assert refused(server, f"POST {ENDPOINTS}", body) == expected


def test_endpoints_are_not_yet_deprecated(server: SilentServer) -> None:
    # The warning came with Kubernetes 1.33 (KEP-4974); this API is that of 1.32.
    server.must(f"POST {ENDPOINTS}", {"metadata": {"name": "e"}})
    server.must(f"GET {ENDPOINTS}/e")
    assert server.warnings == ()


@pytest.mark.parametrize(
    ("spec", "annotations", "expected"),
    [
        ("{type: ClusterIP, sessionAffinity: None}", {}, []),
        ("{type: ClusterIP, sessionAffinity: None}", {HINTS: "Auto"}, [f"annotation {HINTS} is deprecated, please use {MODE} instead"]),
        ("{type: ClusterIP, clusterIP: None, sessionAffinity: ClientIP, externalIPs: [192.0.2.1], loadBalancerIP: 192.0.2.1}", {}, [f"spec.{name} is ignored for headless services" for name in ("loadBalancerIP", "externalIPs", "SessionAffinity")]),
        ("{type: ExternalName, externalName: a.b, externalIPs: [192.0.2.1]}", {}, ['spec.externalIPs is ignored when spec.type is "ExternalName"']),
        ("{type: ClusterIP, externalName: a.b}", {}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
    ],
)  # fmt: skip
def test_advice(spec: str, annotations: dict[str, str], expected: list[str]) -> None:
    metadata = {"name": "s", "annotations": annotations}
    obj = {"kind": "Service", "metadata": metadata, "spec": yaml.safe_load(spec)}
    assert list(advice.given(obj, None)) == expected
