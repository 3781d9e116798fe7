"""`podwire kubeconfig`: the kubeconfig of one cluster, for a file or an environment of its own."""

import argparse
from typing import Any

from podwire.commands import session
from podwire.commands.output import say, say_json
from podwire.emulator import kubeconfig

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire kubeconfig > kc && KUBECONFIG=kc kubectl get nodes
  podwire kubeconfig --name blue -o json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    access = session.access(args)
    document = kubeconfig.document(
        access.context.removeprefix("podwire-"),
        server=access.server,
        authority=access.authority,
        certificate=access.certificate,
        key=access.key,
    )
    if args.output == "json":
        say_json(document)
    else:
        import yaml  # noqa: PLC0415 - only for this answer

        say(yaml.safe_dump(document, sort_keys=False, width=10**6).rstrip())
    return 0
