"""`podwire proxy`: what the kube-proxy of each node serves, and why not more."""

import argparse
from typing import Any, Literal, cast

from podwire.commands import session
from podwire.commands.output import say, say_json, say_table
from podwire.errors import UsageError

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire proxy show                       every node, every Service, every endpoint
  podwire proxy show default/web-svc       one Service
  podwire proxy show --node node-1 -o json
  podwire proxy freeze --node node-1       from now on node-1 serves what it serves: a stale proxy
  podwire proxy thaw --node node-1

An endpoint that is not used has the reason beside it. The mode is chosen by `podwire up
--proxy-mode`, or in the ConfigMap kube-proxy: see docs/proxy.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("what", choices=("show", "freeze", "thaw"))
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="NAME or NAMESPACE/NAME")
    parser.add_argument("--node", default="", help="the proxy of this node only")
    parser.add_argument("-o", "--output", choices=("text", "json", "ipvsadm"), default="text")


def run(args: argparse.Namespace) -> int:
    """Show, or inject the fault."""
    if args.what != "show" and (not args.node or args.service):
        raise UsageError(f"which node?\n  podwire proxy {args.what} --node NODE")
    if args.what != "show" and args.output != "text":
        raise UsageError(f"{args.what} has no output to choose\n  leave out -o {args.output}")
    access = session.access(args)
    from podwire.kube import proxies  # noqa: PLC0415 - after all that can be wrong is checked
    from podwire.kube.plain import Connection  # noqa: PLC0415

    with Connection(access) as connection:
        if args.what != "show":
            what = cast("Literal['freeze', 'thaw']", args.what)
            proxies.signal(connection, args.node, what)
            say(f"the kube-proxy of {args.node} is {'frozen' if what == 'freeze' else 'thawed'}")
            return 0
        states = [_only(state, args.service) for state in proxies.states(connection, args.node)]
    if args.service and not any(state["services"] for state in states):
        raise UsageError(f"no node serves {args.service!r}\n  see: kubectl get services -A")
    if args.output == "json":
        say_json(states)
    elif args.output == "ipvsadm":
        _say_listings(states)
    else:
        for number, state in enumerate(states):
            if number:
                say()
            _say_state(state)
    return 0


def _only(state: Json, service: str | None) -> Json:
    if not service:
        return state
    wanted = service if "/" in service else f"default/{service}"
    kept = [s for s in state["services"] if str(s["name"]).partition(":")[0] == wanted]
    return state | {"services": kept}


def _say_state(state: Json) -> None:
    frozen = "   frozen: changes wait" if state.get("frozen") else ""
    say(f"{state['node']}   mode {state['mode']}   pods {state['podNetwork']}{frozen}")
    rows: list[tuple[str, ...]] = []
    for port in state["services"]:
        rows.append((str(port["name"]), _addresses(port), port["protocol"], _verdict(port), ""))
        for endpoint in port["endpoints"]:
            rows.append(
                (
                    f"  -> {endpoint['address']}",
                    endpoint["node"] or "-",
                    "",
                    _use(endpoint),
                    str(endpoint["connections"]),
                )
            )
    say_table(("SERVICE", "ADDRESS", "PROTOCOL", "STATE", "CONNECTIONS"), rows)


def _addresses(port: Json) -> str:
    number = port["port"]
    found = [f"{port['clusterIP']}:{number}"]
    found += [f"{a}:{number}" for a in (*port["externalIPs"], *port["loadBalancerIPs"])]
    if port["nodePort"]:
        found.append(f"*:{port['nodePort']}")
    return ",".join(found)


def _verdict(port: Json) -> str:
    """Say what clients meet, in a word if it is the same for all."""
    words = {"FORWARD": "serves", "REJECT": "refuses", "DROP": "drops"}
    inside, outside = words[port["internal"]], words[port["external"]]
    beyond = port["nodePort"] or port["externalIPs"] or port["loadBalancerIPs"]
    said = inside if inside == outside or not beyond else f"{inside}; from outside {outside}"
    return f"{said}; {port['failed']}" if port["failed"] else said


def _use(endpoint: Json) -> str:
    inside, outside = endpoint["internal"], endpoint["external"]
    if not inside and not outside:
        return "used"
    if inside == outside:
        return f"not used: {inside}"
    if not inside:
        return f"used; not from outside: {outside}"
    return f"not used: {inside}" + ("; from outside used" if not outside else f"; {outside}")


def _say_listings(states: list[Json]) -> None:
    for state in states:
        if "ipvsadm" not in state:
            raise UsageError(
                f"{state['node']} is in mode {state['mode']}: ipvsadm shows only ipvs\n"
                "  podwire up --proxy-mode ipvs"
            )
        say(f"# {state['node']} ({state['mode']})")
        say(str(state["ipvsadm"]).rstrip())
