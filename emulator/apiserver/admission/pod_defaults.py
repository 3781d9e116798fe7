"""Pure: what kube-apiserver fills into pods and pod templates.

Source: pkg/apis/core/v1/defaults.go and the admission plugins DefaultTolerationSeconds and
ServiceAccount of Kubernetes 1.32. Objects are normalised; they are changed in place.
"""

from collections.abc import Iterator
from typing import Any

from podwire.emulator.apiserver.types.fields import below, fill, many
from podwire.kube import quantity

Json = dict[str, Any]

_MODE = 0o644
_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_MILLI = 10**6


def pod(obj: Json) -> None:
    """Fill a Pod: what a template gets, and what only pods get."""
    spec: Json = obj.setdefault("spec", {})
    for container in (*many(spec, "containers"), *many(spec, "initContainers")):
        resources: Json = below(container, "resources")
        if resources.get("limits"):
            resources["requests"] = resources["limits"] | below(resources, "requests")
    spec.setdefault("enableServiceLinks", True)
    pod_spec(spec)
    if spec.get("hostNetwork"):
        for container in (*many(spec, "containers"), *many(spec, "initContainers")):
            for port in many(container, "ports"):
                if not port.get("hostPort"):
                    port["hostPort"] = port["containerPort"]
    _admission(spec)
    _pod_addresses(obj)


def _admission(spec: Json) -> None:
    """Do what the admission plugins of a default cluster do that look at nothing but the pod."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    tolerations: list[Json] = list(many(spec, "tolerations"))
    added = [
        {"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}
        for key in _UNREACHABLE
        if not any(_tolerates(one, key) for one in tolerations)
    ]
    if added:
        spec["tolerations"] = tolerations + added


def _tolerates(toleration: Json, key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in (
        "NoExecute",
        "",
    )


def _pod_addresses(obj: Json) -> None:
    """Keep podIP and podIPs in step, as the conversion between versions does."""
    status: Json = below(obj, "status")
    address, addresses = status.get("podIP"), status.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        status["podIP"] = addresses[0].get("ip", "")


def template(spec: Json) -> None:
    """Fill the pod template in the spec of a workload."""
    if "template" in spec and spec["template"] is not None:
        pod_spec(spec["template"].setdefault("spec", {}))


def pod_spec(spec: Json) -> None:
    """Fill what pods and templates share."""
    fill(spec, "dnsPolicy", "ClusterFirst")
    fill(spec, "restartPolicy", "Always")
    fill(spec, "schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in many(spec, "volumes"):
        _volume(volume)
    for container in containers_of(spec):
        _container(container)
    _round(spec.get("overhead"))


def containers_of(spec: Json) -> Iterator[Json]:
    """Yield every container of a pod, of all three kinds."""
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name) or ()


def _container(container: Json) -> None:
    fill(container, "imagePullPolicy", pull_policy(container.get("image", "")))
    fill(container, "terminationMessagePath", "/dev/termination-log")
    fill(container, "terminationMessagePolicy", "File")
    for port in many(container, "ports"):
        fill(port, "protocol", "TCP")
    for variable in many(container, "env"):
        _field_reference(below(variable, "valueFrom"))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])
    for hook in below(container, "lifecycle").values():
        if isinstance(hook, dict):
            _http(hook)  # pyright: ignore[reportUnknownArgumentType]
    for amounts in below(container, "resources").values():
        if isinstance(amounts, dict):
            _round(amounts)  # pyright: ignore[reportUnknownArgumentType]


def pull_policy(image: str) -> str:
    """Return the policy for an image: one without tag and digest means ``:latest``."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def _probe(probe: Json) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        fill(probe, name, value)
    _http(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http(action: Json) -> None:
    if "httpGet" in action:
        fill(action["httpGet"], "path", "/")
        fill(action["httpGet"], "scheme", "HTTP")


def _volume(volume: Json) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if source in volume:
            volume[source].setdefault("defaultMode", _MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for item in many(below(volume, "downwardAPI"), "items"):
        _field_reference(item)
    for source in many(below(volume, "projected"), "sources"):
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in many(below(source, "downwardAPI"), "items"):
            _field_reference(item)
    claim = below(volume, "ephemeral", "volumeClaimTemplate")
    if claim:
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _field_reference(holder: Json) -> None:
    if "fieldRef" in holder:
        fill(holder["fieldRef"], "apiVersion", "v1")


def _round(amounts: Json | None) -> None:
    """Round resource amounts up to thousandths."""
    for name, text in (amounts or {}).items():
        amount = quantity.parse(text)
        if amount.nano % _MILLI and amounts is not None:
            up = -(-amount.nano // _MILLI) * _MILLI
            amounts[name] = str(quantity.Quantity(up, amount.format))
