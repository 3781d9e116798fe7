"""`podwire status`: what runs in a cluster, and whether it is ready."""

import argparse
from collections import Counter
from typing import Any, cast

from podwire.commands import session
from podwire.commands.output import say, say_json
from podwire.kube import readiness

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire status
  podwire status --name blue -o json

exit status: 0 everything is ready, 1 something is not (it is named), or no such cluster runs.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Ask the API server and sum up."""
    access = session.access(args)
    from podwire.kube.plain import Connection  # noqa: PLC0415 - after a cluster was found

    with Connection(access) as connection:
        pods = cast("list[Json]", connection.get("/api/v1/pods").get("items") or [])
        nodes = cast("list[Json]", connection.get("/api/v1/nodes").get("items") or [])
        services = cast("list[Json]", connection.get("/api/v1/services").get("items") or [])
    lacks = [
        {"pod": f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", "lack": lack}
        for pod in pods
        if (lack := readiness.lack({**pod, "kind": "Pod"}))
    ]
    statuses = [cast("Json", pod.get("status") or {}) for pod in pods]
    phases = Counter(str(status.get("phase")) for status in statuses)
    summary: Json = {
        "context": access.context,
        "server": access.server,
        "nodes": [node["metadata"]["name"] for node in nodes],
        "pods": dict(phases),
        "services": len(services),
        "notReady": lacks,
    }
    if args.output == "json":
        say_json(summary)
    else:
        shown = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"
        say(f"context    {access.context}")
        say(f"server     {access.server}")
        say(f"nodes      {len(nodes)}: {', '.join(summary['nodes'])}")
        say(f"pods       {shown}")
        say(f"services   {len(services)}")
        for item in lacks:
            say(f"not ready  {item['pod']}: {item['lack']}")
    return 1 if lacks else 0
