"""Where a pod's addresses come from: the ledger of our own, or the IPAM plugin of another."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from podwire.cni.documents import Json
from podwire.cni.ipam import HostLocal
from podwire.cni.ledger import Ledger
from podwire.cni.netconf import Delegate, NetConf, Request
from podwire.cni.results import Dns, Result, ResultAddress, parse_resolv_conf, parse_result
from podwire.cni.spec import Call, CniError, Code


class Invocation(NamedTuple):
    """One call with all that came with it. *log* takes a line for standard error."""

    call: Call
    request: Request
    stdin: bytes
    environ: Mapping[str, str]
    log: Callable[[str], None]


def allot(invocation: Invocation, conf: NetConf) -> Result:
    """Return addresses, routes and DNS for the pod, reserved in its name. Raises CniError.

    An IPAM plugin of another that fails is told DEL, for what it may have done by then.
    """
    match conf.ipam:
        case None:
            return Result()
        case HostLocal() as wanted:
            dns = _resolv_conf(wanted.resolv_conf)
            leases = Ledger(wanted.data_dir, conf.name).reserve(invocation.call.attachment, wanted)
            return Result(
                addresses=tuple(ResultAddress(each.address, each.gateway) for each in leases),
                routes=wanted.routes,
                dns=dns,
            )
        case Delegate() as other:
            try:
                answer = delegate(invocation, other, "ADD")
                allotted = parse_result(answer or {})
                if not allotted.addresses:
                    raise CniError(Code.DELEGATE, "IPAM plugin returned missing IP config")
            except (CniError, ValueError) as error:
                with suppress(CniError):
                    delegate(invocation, other, "DEL")
                if isinstance(error, CniError):
                    raise
                raise CniError(
                    Code.DELEGATE, f"IPAM plugin {other.plugin} gave no valid result: {error}"
                ) from error
            return allotted


def give_back(invocation: Invocation, conf: NetConf) -> None:
    """Free what `allot` gave, because ADD failed later. Raises CniError."""
    match conf.ipam:
        case None:
            return
        case HostLocal() as wanted:
            Ledger(wanted.data_dir, conf.name).release(invocation.call.attachment)
        case Delegate() as other:
            delegate(invocation, other, "DEL")


def delegate(invocation: Invocation, other: Delegate, command: str) -> Json | None:
    """Run the IPAM plugin of another, and return what it answers. Raises CniError."""
    from podwire.cni import programs  # noqa: PLC0415 (subprocess: not for every ADD)

    program = programs.find_plugin(other.plugin, invocation.call.plugin_path)
    return programs.delegate(program, command, invocation.environ, invocation.stdin)


def _resolv_conf(path: str) -> Dns:
    if not path:
        return Dns()
    try:
        return parse_resolv_conf(Path(path).read_text(errors="replace"))
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"cannot read {path}: {error.strerror}") from error
