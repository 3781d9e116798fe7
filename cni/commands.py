"""The commands of the specification: read the configuration, plan, apply, answer.

Each takes an `Invocation`, returns the JSON object for standard output or None, raises CniError.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from podwire.cni import check as checks
from podwire.cni import kernel, masquerade, plan
from podwire.cni.documents import Json, table
from podwire.cni.ipam import HostLocal
from podwire.cni.ledger import Ledger
from podwire.cni.netconf import (
    Delegate,
    NetConf,
    Request,
    parse,
    parse_release,
    parse_valid_attachments,
)
from podwire.cni.spec import (
    Call,
    CniError,
    Code,
    Dns,
    Result,
    ResultAddress,
    at_least,
    parse_resolv_conf,
    parse_result,
    print_result,
)
from podwire.netlink import namespace as namespaces


class Invocation(NamedTuple):
    """One call with all that came with it. *log* takes a line for standard error."""

    call: Call
    request: Request
    stdin: bytes
    environ: Mapping[str, str]
    log: Callable[[str], None]


def add(invocation: Invocation) -> dict[str, object]:
    """Attach the pod and return the result. After a failure, nothing of it is left."""
    call, conf = invocation.call, parse(invocation.request, invocation.call)
    for capability in conf.unused:
        invocation.log(f"the capability {capability} is not of this plugin: chain one that has it")
    with _namespace(call) as pod:
        kernel.require_absent(
            plan.host_interface(conf.name, call.attachment), call.attachment.interface, pod
        )
        allotted = _allot(invocation, conf)
        try:
            wanted = plan.plan(conf, call, allotted)
            if wanted.masquerade:
                _load_rules(wanted, invocation.environ)
            made = kernel.attach(wanted, pod)
        except BaseException:
            # What undoing says is less useful than why it was needed; DEL will say it again.
            with suppress(CniError, OSError):
                masquerade.remove(plan.masquerade_table(conf.name, call.attachment))
            with suppress(CniError):
                _give_back(invocation, conf)
            raise
    return print_result(plan.result(made, conf, allotted), conf.version)


def delete(invocation: Invocation) -> None:
    """Detach the pod. Everything may be gone already, also the namespace and the configuration."""
    owner, release = invocation.call.attachment, parse_release(invocation.request)
    failures: list[CniError] = []
    attached = False
    with _collected(failures):
        attached = kernel.detach(plan.host_interface(release.name, owner))
    with _collected(failures):
        Ledger(release.data_dir, release.name).release(owner)
    if release.ipam is not None:
        try:
            _delegate(invocation, release.ipam, "DEL")
        except CniError as error:
            # A plugin that could never be run for ADD holds nothing; a pod must be removable then.
            never_ran = (
                error.code == Code.INVALID_CONFIG or "failed to find plugin" in error.message
            )
            if attached or not never_ran:
                failures.append(error)
            else:
                invocation.log(error.message)
    with _collected(failures):
        masquerade.remove(plan.masquerade_table(release.name, owner))
    if failures:
        raise failures[0]


def check(invocation: Invocation) -> None:
    """Raise CniError unless all that ADD made is still there."""
    call, request = invocation.call, invocation.request
    _require_version(request, "CHECK", "0.4.0")
    conf = parse(request, call)
    previous = _previous(request)
    host = plan.host_interface(conf.name, call.attachment)
    with _namespace(call) as pod:
        survey = kernel.survey(conf.bridge, host, call.attachment.interface, pod)
    faults = list(
        checks.faults(survey, previous, call, bridge=conf.bridge, host=host, isolated=conf.isolated)
    )
    if isinstance(conf.ipam, Delegate):
        _delegate(invocation, conf.ipam, "CHECK")
    elif conf.ipam is not None and not Ledger(conf.ipam.data_dir, conf.name).held_by(
        call.attachment
    ):
        faults.append(
            f"host-local: Failed to find address added by container {call.attachment.container_id}"
        )
    rules = plan.masquerade_table(conf.name, call.attachment)
    if conf.masquerade and previous.addresses and rules not in masquerade.tables(rules):
        faults.append(f"nft table inet {rules} not found")
    if faults:
        raise CniError(Code.CHECK_FAILED, faults[0], "; ".join(faults[1:]))


def collect_garbage(invocation: Invocation) -> None:
    """Remove all of this network that belongs to no valid attachment; go on after failures."""
    request = invocation.request
    _require_version(request, "GC", "1.1.0")
    valid, release = parse_valid_attachments(request), parse_release(request)
    failures: list[str] = []
    hosts = {plan.host_interface(release.name, each) for each in valid}
    tables = {plan.masquerade_table(release.name, each) for each in valid}
    with _noted(failures):
        failures += kernel.detach_others(plan.alias_prefix(release.name), hosts)
    with _noted(failures):
        failures += Ledger(release.data_dir, release.name).release_others(valid)
    with _noted(failures):
        for name in masquerade.tables(plan.masquerade_prefix(release.name)):
            if name not in tables:
                with _noted(failures):
                    masquerade.remove(name)
    if release.ipam is not None:
        with _noted(failures):
            _delegate(invocation, release.ipam, "GC")
    if failures:
        raise CniError(Code.IO_FAILURE, "GC could not remove everything", "; ".join(failures))


def status(invocation: Invocation) -> None:
    """Raise CniError with code 50 if an ADD would fail now."""
    _require_version(invocation.request, "STATUS", "1.1.0")
    conf = parse(invocation.request, invocation.call)
    try:
        kernel.require_bridge_usable(conf.bridge)
        if isinstance(conf.ipam, Delegate):
            _delegate(invocation, conf.ipam, "STATUS")
        elif conf.ipam is not None:
            Ledger(conf.ipam.data_dir, conf.name).require_room(conf.ipam)
        if conf.masquerade:
            from podwire.cni import programs  # noqa: PLC0415 (subprocess: not for every ADD)

            programs.nft_program(invocation.environ)
    except CniError as error:
        raise CniError(Code.NOT_READY, error.message, error.details) from error


COMMANDS: Mapping[str, Callable[[Invocation], Json | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect_garbage,
    "STATUS": status,
}


def _allot(invocation: Invocation, conf: NetConf) -> Result:
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
                answer = _delegate(invocation, other, "ADD")
                allotted = parse_result(answer or {})
                if not allotted.addresses:
                    raise CniError(Code.DELEGATE, "IPAM plugin returned missing IP config")
            except (CniError, ValueError) as error:
                with suppress(CniError):
                    _delegate(invocation, other, "DEL")
                if isinstance(error, CniError):
                    raise
                raise CniError(
                    Code.DELEGATE, f"IPAM plugin {other.plugin} gave no valid result: {error}"
                ) from error
            return allotted


def _give_back(invocation: Invocation, conf: NetConf) -> None:
    match conf.ipam:
        case None:
            return
        case HostLocal() as wanted:
            Ledger(wanted.data_dir, conf.name).release(invocation.call.attachment)
        case Delegate() as other:
            _delegate(invocation, other, "DEL")


def _delegate(invocation: Invocation, other: Delegate, command: str) -> Json | None:
    from podwire.cni import programs  # noqa: PLC0415 (subprocess: not for every ADD)

    program = programs.find_plugin(other.plugin, invocation.call.plugin_path)
    return programs.delegate(program, command, invocation.environ, invocation.stdin)


def _load_rules(wanted: plan.Plan, environ: Mapping[str, str]) -> None:
    from podwire.cni import programs  # noqa: PLC0415 (subprocess: not for every ADD)

    programs.load_rules(plan.masquerade_rules(wanted), environ)


def _resolv_conf(path: str) -> Dns:
    if not path:
        return Dns()
    try:
        return parse_resolv_conf(Path(path).read_text(errors="replace"))
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"cannot read {path}: {error.strerror}") from error


def _previous(request: Request) -> Result:
    if request.document.get("prevResult") is None:
        raise CniError(Code.INVALID_CONFIG, "Required prevResult missing")
    try:
        return parse_result(table(request.document, "prevResult"))
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid prevResult: {error}") from error


def _require_version(request: Request, command: str, least: str) -> None:
    if not at_least(request.version, least):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"config version does not allow {command}",
            f'config is "{request.version}", {command} came with {least}',
        )


@contextmanager
def _namespace(call: Call) -> Generator[int]:
    try:
        opened = namespaces.opened(call.namespace)
        pod = opened.__enter__()
    except OSError as error:
        raise CniError(
            Code.INVALID_NAMESPACE, f'failed to open netns "{call.namespace}": {error.strerror}'
        ) from error
    try:
        if namespaces.is_own(pod) and not call.own_namespace_allowed:
            raise CniError(
                Code.INVALID_NAMESPACE,
                "plugin's netns and netns from CNI_NETNS should not be the same",
            )
        yield pod
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _collected(failures: list[CniError]) -> Generator[None]:
    try:
        yield
    except CniError as error:
        failures.append(error)
    except OSError as error:
        failures.append(CniError(Code.KERNEL, str(error.strerror or error)))


@contextmanager
def _noted(failures: list[str]) -> Generator[None]:
    try:
        yield
    except CniError as error:
        failures.append(f"{error.message} {error.details}".strip())
    except OSError as error:
        failures.append(str(error.strerror or error))
