"""The commands of the specification: read the configuration, plan, apply, answer.

Each takes an `Invocation`, returns the JSON object for standard output or None, raises CniError.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress

from podwire.cni import check as checks
from podwire.cni import kernel, masquerade, plan
from podwire.cni.addresses import Invocation, allot, delegate, give_back
from podwire.cni.documents import Json, table
from podwire.cni.ledger import Ledger
from podwire.cni.netconf import (
    Delegate,
    NetConf,
    Request,
    parse,
    parse_release,
    parse_valid_attachments,
)
from podwire.cni.ports import port_rules
from podwire.cni.results import (
    Result,
    parse_result,
    print_result,
)
from podwire.cni.spec import Call, CniError, Code, at_least
from podwire.netlink import namespace as namespaces


def add(invocation: Invocation) -> dict[str, object]:
    """Attach the pod and return the result. After a failure, nothing of it is left."""
    call, conf = invocation.call, parse(invocation.request, invocation.call)
    for capability in conf.unused:
        invocation.log(f"the capability {capability} is not of this plugin: chain one that has it")
    with _namespace(call) as pod:
        kernel.require_absent(
            plan.host_interface(conf.name, call.attachment), call.attachment.interface, pod
        )
        allotted = allot(invocation, conf)
        try:
            wanted = plan.plan(conf, call, allotted)
            _load_rules(wanted, conf, invocation.environ)
            made = kernel.attach(wanted, pod)
        except BaseException:
            # What undoing says is less useful than why it was needed; DEL will say it again.
            with suppress(CniError, OSError):
                for rules in plan.tables(conf.name, call.attachment):
                    masquerade.remove(rules)
            with suppress(CniError):
                give_back(invocation, conf)
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
            delegate(invocation, release.ipam, "DEL")
        except CniError as error:
            # A plugin that could never be run for ADD holds nothing; a pod must be removable then.
            never_ran = (
                error.code == Code.INVALID_CONFIG or "failed to find plugin" in error.message
            )
            if attached or not never_ran:
                failures.append(error)
            else:
                invocation.log(error.message)
    for rules in plan.tables(release.name, owner):
        with _collected(failures):
            masquerade.remove(rules)
    kernel.forget_flows(release.ports)
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
        checks.faults(
            survey,
            previous,
            call,
            bridge=conf.bridge,
            host=host,
            isolated=conf.isolated,
            promiscuous=conf.promiscuous,
        )
    )
    if isinstance(conf.ipam, Delegate):
        delegate(invocation, conf.ipam, "CHECK")
    elif conf.ipam is not None and not Ledger(conf.ipam.data_dir, conf.name).held_by(
        call.attachment
    ):
        faults.append(
            f"host-local: Failed to find address added by container {call.attachment.container_id}"
        )
    for rules, wanted in (
        (plan.masquerade_table(conf.name, call.attachment), conf.masquerade),
        (plan.ports_table(conf.name, call.attachment), conf.ports),
    ):
        if wanted and previous.addresses and rules not in masquerade.tables(rules):
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
    tables = {name for each in valid for name in plan.tables(release.name, each)}
    with _noted(failures):
        failures += kernel.detach_others(plan.alias_prefix(release.name), hosts)
    with _noted(failures):
        failures += Ledger(release.data_dir, release.name).release_others(valid)
    with _noted(failures):
        for name in masquerade.tables(*plan.table_prefixes(release.name)):
            if name not in tables:
                with _noted(failures):
                    masquerade.remove(name)
    if release.ipam is not None:
        with _noted(failures):
            delegate(invocation, release.ipam, "GC")
    if failures:
        raise CniError(Code.IO_FAILURE, "GC could not remove everything", "; ".join(failures))


def status(invocation: Invocation) -> None:
    """Raise CniError with code 50 if an ADD would fail now."""
    _require_version(invocation.request, "STATUS", "1.1.0")
    conf = parse(invocation.request, invocation.call)
    try:
        kernel.require_bridge_usable(conf.bridge)
        if isinstance(conf.ipam, Delegate):
            delegate(invocation, conf.ipam, "STATUS")
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


def _load_rules(wanted: plan.Plan, conf: NetConf, environ: Mapping[str, str]) -> None:
    if not wanted.masquerade and not wanted.ports:
        return
    from podwire.cni import programs  # noqa: PLC0415 (subprocess: not for every ADD)

    rules = plan.masquerade_rules(wanted) if wanted.masquerade else ""
    if wanted.ports:
        pod = (each.address for each in wanted.addresses)
        rules += port_rules(wanted.ports, conf.ports, pod, conf.host_addresses)
    programs.load_rules(rules, environ)
    if wanted.ports:
        kernel.forget_flows(conf.ports)


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
