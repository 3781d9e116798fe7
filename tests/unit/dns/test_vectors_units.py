"""Every function-level vector, of the file that $PODWIRE_DNS_VECTORS names or of ours, by its kind.

The tests of each part have the same vectors beside cases of their own; here no kind is forgotten,
and other files of the same shape can be judged.
"""

import inspect
import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from podwire.dns.chain import Request
from podwire.dns.cluster import cluster_stanza
from podwire.dns.cluster.answer import answer
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.search_path import autopath_applies
from podwire.dns.corefile import corefile
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages import names
from podwire.dns.messages.message import (
    Data,
    Kind,
    Mx,
    Opaque,
    Question,
    Rcode,
    Record,
    Reply,
    Soa,
    kind_name,
)
from podwire.dns.messages.query import Query, screen
from podwire.dns.parts.cacheable import clamped
from podwire.emulator.kubelet import resolver
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace, PodDNSConfigOption, PodSpec
from podwire.kube.resolving import search_walk
from podwire.kube.selectors import parse_labels
from podwire.testing.clock import FakeClock
from tests.system.dns.files import vectors
from tests.system.dns.messages import question, type_number, wire_name
from tests.unit.dns import corefiles

Json = dict[str, Any]

UNITS: list[Json] = vectors().get("unit", [])
KEPT = ("success", "denial")


def parse_name(given: Json) -> Json:
    asked = names.ask(
        given["qname"], given["zone"], multicluster=given["multicluster"], zonal=given["zonal"]
    )
    if asked is None:
        return {"valid": False}
    fields = ("port", "protocol", "endpoint", "cluster", "service", "namespace", "topology_zone")
    found = {field: getattr(asked, field) for field in fields}
    return {"valid": True, "pod_or_svc": asked.branch, **found}


def endpoint_name(given: Json) -> str:
    return names.endpoint_name(
        ip_address(given["ip"]),
        given["hostname"],
        given["pod_name"],
        pod_names=given["endpoint_pod_names"],
    )


def reverse_to_ip(given: str) -> str | None:
    found = names.reversed_address(given)
    return str(found) if found else None


def reverse_family(given: str) -> str | None:
    return {4: "IPv4", 6: "IPv6", 0: None}[names.reverse_family(given)]


def trim_zone(given: Json) -> str | None:
    return names.below(given["qname"], given["zone"])


def cidr_to_zones(given: str) -> list[str]:
    return list(names.zones_of(given))


def namespace_exposed(given: Json) -> bool:
    table = Table()
    for name in given["existing"]:
        table.change_namespace(None, convert(Namespace, {"metadata": {"name": name}}))
    table.synced()
    options = Options(zones=("c.local.",), namespaces=frozenset(given["configured"]))
    reply = answer(Question(f"{given['namespace']}.svc.c.local.", Kind.A), table, options)
    return reply is not None and reply.rcode == Rcode.NOERROR


def corefile_kubernetes(given: str) -> Json:
    try:
        text = f"zone.example {{\n{given}\n}}\n"
        (block,) = corefile.parse(text, read=_no_files)
        directive, *others = block.directives
        if others:
            # Whether there may be two is not the stanza's own affair.
            corefiles.Bench().configure(text)
        read = cluster_stanza.parse(Stanza(directive, ("zone.example.",)))
    except CorefileError as error:
        return {"error": True, "said": str(error)}
    options = read.options
    return {
        "error": False,
        "zones": len(options.zones),
        "namespaces": len(options.namespaces),
        "pods": options.pods,
        "fallthrough": list(options.fallthrough or ()),
        "startup_timeout": read.startup_timeout,
        "labels": read.labels,
        "namespace_labels": read.namespace_labels,
        "endpoint_pod_names": options.endpoint_pod_names,
        "noendpoints": options.no_endpoints,
        "ignore_empty_service": options.ignore_empty_service,
        "multicluster": list(options.multicluster),
        "zonal": options.zonal,
        "ttl": options.ttl,
    }


def _no_files(pattern: str, base: str) -> list[tuple[str, str]]:
    raise AssertionError(f"a vector reads {pattern} of {base}")


def cache_ttl(given: Json) -> int:
    return clamped(given["message_ttl"], given["min"], given["max"])


async def cacheable(given: Json) -> Json:
    response = given["response"]
    reply = Reply(
        rcode=Rcode[response["rcode"]],
        recursion_available=response["ra"],
        truncated=response["tc"],
        authenticated=response["ad"],
        answer=tuple(map(_record, response["answer"])),
        authority=tuple(map(_record, response["authority"])),
    )
    disabled = [f"   disable {kind} {zone}" for kind in KEPT for zone in given[f"{kind}_disabled"]]
    text = corefiles.block(f"cache {given['cache_ttl']} {{", *disabled, "}")
    clock = FakeClock(datetime(2017, 4, 30, tzinfo=UTC).timestamp())
    cache = corefiles.plugin_of(corefiles.Bench(clock=clock).configure(text), "cache")
    asked = list[Request]()

    async def rest(request: Request) -> Reply:
        asked.append(request)
        return reply

    request = _request(response)
    await cache.serve(request, rest)
    seen = await cache.serve(request, rest)
    if len(asked) > 1:
        return {"cached": False}
    reply_seen = {
        "rcode": Rcode(seen.rcode).name,
        "ra": seen.recursion_available,
        "aa": seen.authoritative,
        "ad": seen.authenticated,
        "answer": [(r.name, kind_name(r.kind), r.ttl) for r in seen.answer],
        "authority": [(r.name, kind_name(r.kind), r.ttl) for r in seen.authority],
    }
    return {"cached": True, "reply": reply_seen}


def _request(response: Json) -> Request:
    # Who sets AD wants to know whether the answer was checked (RFC 6840, 5.7).
    asked: Json = {key: response[key] for key in ("qname", "qtype", "cd", "ad")}
    if response["do"]:
        asked["edns"] = {"do": True}
    query = screen(question(asked, 1))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), "udp")


def _record(entry: Json) -> Record:
    words = entry["data"].split()
    makers: dict[str, Callable[[], Data]] = {
        "A": lambda: ip_address(words[0]),
        "AAAA": lambda: ip_address(words[0]),
        "SOA": lambda: Soa(words[0], words[1], *map(int, words[2:])),
        "MX": lambda: Mx(int(words[0]), words[1]),
        "RRSIG": lambda: Opaque(_signature(words)),
    }
    data = makers.get(entry["type"], lambda: str(words[0]))()
    return Record(entry["name"], type_number(entry["type"]), entry["ttl"], data)


def _signature(words: list[str]) -> bytes:
    """Return an RRSIG as it travels (RFC 4034, 3.1)."""
    covered, algorithm, labels, ttl, until, since, tag, signer, *key = words
    times = [int(datetime.strptime(t + "Z", "%Y%m%d%H%M%S%z").timestamp()) for t in (until, since)]
    fixed = struct.pack(
        "!HBBIIIH", type_number(covered), int(algorithm), int(labels), int(ttl), *times, int(tag)
    )
    return fixed + wire_name(signer) + b64decode("".join(key) + "===")


def resolv_conf_parse(given: str) -> Json:
    try:
        read = resolver.parse(given)
    except ValueError:
        return {"error": True}
    return _shown(read)


def search_limits(given: list[str]) -> Json:
    return _limited(resolver.Resolver(searches=tuple(given)), "searches")


def nameserver_limits(given: list[str]) -> Json:
    return _limited(resolver.Resolver(nameservers=tuple(given)), "nameservers")


def options_merge(given: Json) -> Json:
    more = [PodDNSConfigOption(**option) for option in given["dnsConfig.options"]]
    return {"options_unordered": list(resolver.merged_options(given["base"], more))}


def dns_policy(given: Json) -> str:
    try:
        return resolver.source_of(
            PodSpec(host_network=given["hostNetwork"], dns_policy=given["dnsPolicy"])
        )
    except ValueError:
        return "error"


def pod_resolv_conf(given: Json) -> Json:
    text = given["node_resolv_conf"]
    spec = {field: given[field] for field in ("hostNetwork", "dnsPolicy", "dnsConfig")}
    made, _ = resolver.resolver_of(
        msgspec.convert(spec, PodSpec),
        given["namespace"],
        node=None if text is None else resolver.parse(text),
        cluster_dns=given["cluster_dns"],
        domain=given["cluster_domain"],
    )
    found = _shown(made)
    found["options_unordered"] = found.pop("options")
    return found


def autopath(given: Json) -> bool:
    return autopath_applies(given["qname"], given["search"])


def walk(given: Json) -> list[str]:
    return list(search_walk(given["name"], given["search"], given["ndots"]))


def _shown(read: resolver.Resolver) -> Json:
    return {
        "nameservers": list(read.nameservers),
        "searches": list(read.searches),
        "options": list(read.options),
    }


def _limited(wanted: resolver.Resolver, field: str) -> Json:
    made, complaints = resolver.limited(wanted)
    return {"applied": list(getattr(made, field)), "warning_event": bool(complaints)}


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "autopath_applies": autopath,
    "cache_ttl": cache_ttl,
    "cacheable": cacheable,
    "cidr_to_zones": cidr_to_zones,
    "corefile_kubernetes": corefile_kubernetes,
    "dns_policy": dns_policy,
    "endpoint_name": endpoint_name,
    "nameserver_limits": nameserver_limits,
    "namespace_exposed": namespace_exposed,
    "options_merge": options_merge,
    "parse_name": parse_name,
    "pod_resolv_conf": pod_resolv_conf,
    "resolv_conf_parse": resolv_conf_parse,
    "reverse_family": reverse_family,
    "reverse_to_ip": reverse_to_ip,
    "search_limits": search_limits,
    "search_walk": walk,
    "trim_zone": trim_zone,
}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit["id"])
async def test_unit(unit: Json) -> None:
    kind = unit["kind"].removeprefix("unit.")
    made: Any = ANSWERS[kind](unit["input"])
    found: Any = await made if inspect.isawaitable(made) else made
    expected = unit["expect"]
    assert told(kind, found, expected) == wanted(kind, expected), unit.get("note", "")


def wanted(kind: str, expected: Any) -> Any:
    """Return what a vector expects, in a form that can be compared."""
    match kind:
        case "corefile_kubernetes" if expected["error"]:
            # The words around it are ours: which file, which line, and what is allowed.
            return {"error": True, "said": expected.get("error_contains", "")}
        case "corefile_kubernetes":
            shown = {k: v for k, v in expected.items() if k != "error_contains"}
            return {k: _selector(v) if "labels" in k else v for k, v in shown.items()}
        case "search_walk":
            return [step["qname"] for step in expected]
        case "cacheable" if expected["cached"]:
            reply = expected["reply"]
            sections = {
                s: [(r["name"], r["type"], r["ttl"]) for r in reply[s]]
                for s in ("answer", "authority")
            }
            return {"cached": True, "reply": {**reply, **sections}}
        case "parse_name" if not expected["valid"]:
            return {"valid": False}
        case "resolv_conf_parse" if expected.get("error"):
            return {"error": True}
        case "options_merge" | "pod_resolv_conf":
            return {**expected, "options_unordered": sorted(expected["options_unordered"])}
        case _:
            return expected


def told(kind: str, found: Any, expected: Any) -> Any:
    """Return of what was found what the vector tells."""
    match kind:
        case "corefile_kubernetes" if found["error"]:
            part = expected.get("error_contains", "")
            return {"error": True, "said": part if part in found["said"] else found["said"]}
        case "corefile_kubernetes":
            shown = {k: found[k] for k in expected if k != "error_contains"}
            return {k: _selector(v) if "labels" in k else v for k, v in shown.items()}
        case "search_walk":
            # What was observed ends at the first data.
            return found[: len(expected)]
        case "cacheable" if found["cached"] and "reply" in expected:
            shown = {k: v for k, v in found["reply"].items() if k in expected["reply"]}
            unseen = {k: v for k, v in expected["reply"].items() if k not in found["reply"]}
            return {"cached": True, "reply": {**shown, **unseen}}
        case "options_merge" | "pod_resolv_conf":
            return {**found, "options_unordered": sorted(found["options_unordered"])}
        case _:
            return found


def _selector(text: str) -> Any:
    return frozenset(parse_labels(text).requirements)
