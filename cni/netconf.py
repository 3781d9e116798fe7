"""Pure: the network configuration on a plugin's standard input, checked and typed."""

import json
import re
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple, cast

from podwire.cni.documents import Json, anycase, flag, number, objects, table, text, texts
from podwire.cni.ipam import DATA_DIR, HostLocal, RangeSet, parse_host_local, parse_sets
from podwire.cni.spec import (
    VERSIONS,
    Attachment,
    Call,
    CniError,
    Code,
    Dns,
    is_network_name,
    parse_dns,
)
from podwire.netlink.changes import Address

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
    isolated: bool = False
    mtu: int = 0
    mac: str = ""
    ipam: HostLocal | Delegate | None = None
    dns: Dns = Dns()
    unused: tuple[str, ...] = ()


class Release(NamedTuple):
    """The part of a configuration that DEL and GC need: where the addresses of a network are noted.

    It is read so leniently because a pod must be removable though its list was changed or broken.
    """

    name: str
    bridge: str
    ipam: Delegate | None
    data_dir: str


def parse_request(data: bytes) -> Request:
    """Return what is on standard input. Raises CniError with code 6, 7 or 1."""
    try:
        document: object = json.loads(data)
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
    if version not in VERSIONS:
        # An absent version means 0.1.0, which has another form of result.
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version or "0.1.0"}", plugin supports {json.dumps(VERSIONS)}',
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
    with suppress(ValueError):
        ipam = table(request.document, "ipam")
    kind, data_dir, bridge = ipam.get("type"), ipam.get("dataDir"), request.document.get("bridge")
    return Release(
        name=request.name,
        bridge=bridge if isinstance(bridge, str) and bridge else BRIDGE,
        ipam=Delegate(kind) if isinstance(kind, str) and kind not in ("", "host-local") else None,
        data_dir=data_dir if isinstance(data_dir, str) and data_dir else DATA_DIR,
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
        isolated=flag(document, "portIsolation"),
        mtu=mtu,
        mac=_mac(document, runtime, call),
        dns=_dns(document, runtime),
        unused=tuple(key for key in ("portMappings", "bandwidth") if runtime.get(key.lower())),
    )
    ipam = table(document, "ipam")
    if not ipam:
        return conf
    kind = text(ipam, "type")
    if not kind:
        raise ValueError("'ipam' has no 'type'")
    if kind != "host-local":
        return conf._replace(ipam=Delegate(kind))
    requested = _requested(document, runtime, call)
    more_sets: tuple[RangeSet, ...] = parse_sets(runtime, "ipranges") if runtime else ()
    return conf._replace(ipam=parse_host_local(ipam, requested=requested, more_sets=more_sets))


def _bridge(name: str) -> str:
    if (
        len(name.encode()) > 15
        or "/" in name
        or any(c.isspace() for c in name)
        or name in (".", "..")
    ):
        raise ValueError(f"'bridge' must be an interface name of at most 15 bytes, not {name!r}")
    return name


def _mac(document: Json, runtime: Json, call: Call) -> str:
    args = table(table(document, "args"), "cni")
    mac = text(runtime, "mac") or text(args, "mac") or call.arguments.get("MAC", "")
    if not mac:
        return ""
    plain = mac.lower().replace("-", ":")
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", plain) or int(plain[:2], 16) & 1:
        raise ValueError(
            f"'mac' must be the address of one host, as 02:00:00:00:00:01, not {mac!r}"
        )
    return plain


def _requested(document: Json, runtime: Json, call: Call) -> tuple[Address, ...]:
    args = table(table(document, "args"), "cni")
    wanted = (*texts(runtime, "ips"), *texts(args, "ips"))
    if not wanted and call.arguments.get("IP"):
        wanted = tuple(call.arguments["IP"].split(","))
    return tuple(ip_address(each.strip().partition("/")[0]) for each in wanted)


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
    "promiscMode",
    "vlan",
    "vlanTrunk",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
)


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
