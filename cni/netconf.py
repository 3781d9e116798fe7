"""Pure: the network configuration on a plugin's standard input, checked and typed."""

import json
import re
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple, cast

from podwire.cni.documents import Json, anycase, flag, number, objects, table, text, texts
from podwire.cni.ipam import DATA_DIR, HostLocal, RangeSet, parse_host_local, parse_sets
from podwire.cni.ports import PortMapping, parse_host_addresses, parse_port_mappings
from podwire.cni.results import Dns, parse_dns
from podwire.cni.spec import (
    OLDEST,
    VERSIONS,
    Attachment,
    Call,
    CniError,
    Code,
    at_least,
    interface_name_fault,
    is_network_name,
)
from podwire.netlink.changes import Address, Network

BRIDGE = "cni0"


class Request(NamedTuple):
    """What was on standard input: the network's name, the version, and the object itself."""

    name: str
    version: str
    document: Json


class Delegate(NamedTuple):
    """An `ipam` section of another plugin, which is asked by running it."""

    plugin: str


class NetConf(NamedTuple):
    """A valid configuration of type podwire. An *mtu* of 0 leaves the kernel's default.

    Members as in the reference plugin bridge; *mac* is what the runtime asks for, if it does.
    *unused* names the capabilities that the runtime supplied and this plugin does not have.
    """

    name: str
    version: str
    bridge: str = BRIDGE
    is_gateway: bool = False
    is_default_gateway: bool = False
    force_address: bool = False
    masquerade: bool = False
    hairpin: bool = False
    promiscuous: bool = False
    isolated: bool = False
    mtu: int = 0
    mac: str = ""
    ipam: HostLocal | Delegate | None = None
    dns: Dns = Dns()
    ports: tuple[PortMapping, ...] = ()
    host_addresses: tuple[Network, ...] = ()
    unused: tuple[str, ...] = ()


class Release(NamedTuple):
    """The part of a configuration that DEL and GC need: where addresses are noted, and *ports*.

    It is read so leniently because a pod must be removable though its list was changed or broken.
    """

    name: str
    ipam: Delegate | None
    data_dir: str
    ports: tuple[PortMapping, ...] = ()


def parse_request(data: bytes) -> Request:
    """Return what is on standard input. Raises CniError with code 6, 7 or 1."""
    try:
        # As UTF-8, which it must be: json would guess UTF-16 and more.
        document: object = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CniError(
            Code.DECODE_FAILURE, f"error unmarshall network config: {_short(error)}"
        ) from error
    if not isinstance(document, dict):
        raise CniError(Code.DECODE_FAILURE, "error unmarshall network config: not a JSON object")
    config = cast("Json", document)
    try:
        name, version = text(config, "name"), text(config, "cniVersion")
    except ValueError as error:
        raise CniError(Code.DECODE_FAILURE, f"error unmarshall network config: {error}") from error
    if not name:
        raise CniError(Code.INVALID_CONFIG, "missing network name")
    if not is_network_name(name):
        raise CniError(Code.INVALID_CONFIG, "invalid characters found in network name", repr(name))
    version = version or OLDEST
    if version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports {json.dumps(VERSIONS)}',
        )
    return Request(name, version, config)


def parse(request: Request, call: Call) -> NetConf:
    """Return the configuration for ADD, CHECK and STATUS. Raises CniError with code 7 or 2."""
    try:
        conf = _parse(request, call)
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid network config: {error}") from error
    _require_supported(request.document)
    return conf


def parse_release(request: Request) -> Release:
    """Return what DEL and GC need; whatever is wrong in the rest does not matter to them."""
    ipam: Json = {}
    ports: tuple[PortMapping, ...] = ()
    with suppress(ValueError):
        ipam = table(request.document, "ipam")
    with suppress(ValueError, RecursionError):
        ports = parse_port_mappings(anycase(table(request.document, "runtimeConfig")))
    ours = ("", "host-local", request.document.get("type"))
    kind, data_dir = _lenient(ipam, "type"), _lenient(ipam, "dataDir")
    return Release(
        name=request.name,
        ipam=None if kind in ours else Delegate(kind),
        data_dir=data_dir or DATA_DIR,
        ports=ports,
    )


def parse_valid_attachments(request: Request) -> frozenset[Attachment]:
    """Return the attachments that GC must keep.

    libcni sends null for an empty list, cnitool no key at all; an older key had another name.
    """
    document = request.document
    key = "cni.dev/valid-attachments"
    try:
        return frozenset(
            Attachment(text(item, "containerID"), text(item, "ifname"))
            for item in objects(document, key if key in document else "cni.dev/attachments")
        )
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid network config: {error}") from error


def _parse(request: Request, call: Call) -> NetConf:
    document = request.document
    runtime = anycase(table(document, "runtimeConfig"))
    mtu = number(document, "mtu", 0)
    # The kernel's bounds for veth; the reference plugin takes negative numbers in silence.
    if mtu and not 68 <= mtu <= 65535:
        raise ValueError(f"'mtu' must be 0 or between 68 and 65535, not {mtu}")
    if flag(document, "hairpinMode") and flag(document, "promiscMode"):
        raise ValueError(
            "cannot set hairpin mode and promiscuous mode at the same time "
            "('hairpinMode', 'promiscMode')"
        )
    vlan = number(document, "vlan", 0)
    if not 0 <= vlan <= 4094:
        raise ValueError(f"invalid VLAN ID {vlan} (must be between 0 and 4094)")
    conf = NetConf(
        name=request.name,
        version=request.version,
        bridge=_bridge(text(document, "bridge") or BRIDGE),
        is_gateway=flag(document, "isGateway") or flag(document, "isDefaultGateway"),
        is_default_gateway=flag(document, "isDefaultGateway"),
        force_address=flag(document, "forceAddress"),
        masquerade=flag(document, "ipMasq"),
        hairpin=flag(document, "hairpinMode"),
        promiscuous=flag(document, "promiscMode"),
        isolated=flag(document, "portIsolation"),
        mtu=mtu,
        mac=_mac(document, runtime, call),
        dns=_dns(document, runtime),
        ports=parse_port_mappings(runtime),
        host_addresses=parse_host_addresses(document),
        unused=("bandwidth",) if runtime.get("bandwidth") else (),
    )
    ipam = table(document, "ipam")
    if not ipam and not at_least(request.version, "0.3.0"):
        raise ValueError(f"CNI version {request.version} has no result without 'ipam'")
    if not ipam:
        return conf
    kind = text(ipam, "type")
    if not kind:
        raise ValueError("'ipam' has no 'type'")
    if kind == document.get("type"):
        # It would be its own, and call itself without end.
        raise ValueError(f"plugin {kind!r} is no IPAM plugin: 'ipam' needs another 'type'")
    if kind != "host-local":
        return conf._replace(ipam=Delegate(kind))
    requested = _requested(document, runtime, call)
    more_sets: tuple[RangeSet, ...] = parse_sets(runtime, "ipranges") if runtime else ()
    wanted = parse_host_local(ipam, requested=requested, more_sets=more_sets)
    families = [ranges[0].subnet.version for ranges in wanted.sets]
    if not at_least(request.version, "0.3.0") and len(families) != len(set(families)):
        raise ValueError(f"CNI version {request.version} has one address of each family only")
    return conf._replace(ipam=wanted)


def _lenient(document: Json, name: str) -> str:
    try:
        return text(document, name)
    except ValueError:
        return ""


def _bridge(name: str) -> str:
    if fault := interface_name_fault(name):
        raise ValueError(f"'bridge': {fault}: {name!r}")
    return name


def _mac(document: Json, runtime: Json, call: Call) -> str:
    args = table(table(document, "args"), "cni")
    mac = text(runtime, "mac") or text(args, "mac") or call.arguments.get("MAC", "")
    if not mac:
        return ""
    plain = mac.lower().replace("-", ":")
    written = re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", plain)
    if not written or int(plain[:2], 16) & 1 or plain == "00:00:00:00:00:00":
        raise ValueError(
            f"'mac' must be the address of one host, as 02:00:00:00:00:01, not {mac!r}"
        )
    return plain


def _requested(document: Json, runtime: Json, call: Call) -> tuple[Address, ...]:
    args = table(table(document, "args"), "cni")
    wanted, source = (*texts(runtime, "ips"), *texts(args, "ips")), "'ips'"
    if not wanted and call.arguments.get("IP"):
        wanted, source = tuple(call.arguments["IP"].split(",")), "IP in CNI_ARGS"
    try:
        return tuple(ip_address(each.strip().partition("/")[0]) for each in wanted)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _dns(document: Json, runtime: Json) -> Dns:
    given = table(runtime, "dns")
    if not given:
        return parse_dns(table(document, "dns"))
    return Dns(
        nameservers=texts(given, "servers"),
        search=texts(given, "searches"),
        options=texts(given, "options"),
    )


def _require_supported(document: Json) -> None:
    # Taking these in silence would give a pod another network than the one written down.
    for key in _UNSUPPORTED:
        if document.get(key):
            raise CniError(
                Code.UNSUPPORTED_FIELD, f"unsupported field {key!r}: {json.dumps(document[key])}"
            )


_UNSUPPORTED = (
    "vlan",
    "vlanTrunk",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
)


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
