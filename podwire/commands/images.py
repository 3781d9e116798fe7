"""`podwire images`: what runs under an image's name; no image is ever pulled."""

import argparse
import json
import re
from typing import Any, cast

from podwire.commands import session
from podwire.commands.output import say, say_json, say_table
from podwire.errors import NotRunning, PodwireError, UsageError

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire images                                       the catalogue, and what was added
  podwire images add example.com/shop -- python3 -m http.server 8000
  podwire images rm example.com/shop

An addition belongs to one running cluster. Its command runs in the pod, with this machine's
programs, read-only.
"""

NAMESPACE = "kube-system"
CONFIG_MAP = "podwire-images"
_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.usage = "podwire images [options] [ls | add NAME -- COMMAND... | rm NAME]"
    parser.add_argument("what", nargs="?", choices=("ls", "add", "rm"), default="ls")
    parser.add_argument("image", nargs="?", metavar="NAME", help="an image's name, without a tag")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """List, add or remove."""
    if args.what == "ls":
        return _list(args)
    if not args.image:
        raise UsageError(f"which image?\n  podwire images {args.what} NAME ...")
    if args.what == "add" and not args.command:
        raise UsageError("what does it run?\n  podwire images add NAME -- COMMAND...")
    if args.what == "rm" and args.command:
        raise UsageError("rm takes no command\n  podwire images rm NAME")
    value = json.dumps({"image": args.image, "command": args.command}) if args.command else None
    with session.connect(args) as connection:
        present = connection.find(f"{_PATH}/{CONFIG_MAP}")
        if args.what == "rm" and key_of(args.image) not in _data(present):
            raise PodwireError(f"{args.image} was not added\n  see: podwire images")
        if present is None:
            metadata = {"name": CONFIG_MAP, "namespace": NAMESPACE}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            connection.create(_PATH, {**body, "data": {key_of(args.image): value}})
        else:
            connection.patch(f"{_PATH}/{CONFIG_MAP}", {"data": {key_of(args.image): value}})
    say(f"image {args.image} {'added' if args.command else 'removed'}")
    return 0


def key_of(image: str) -> str:
    """Return the key under which an image stands; a ConfigMap allows no / and no : in it."""
    return re.sub(r"[^-._a-zA-Z0-9]", "_", image)


def additions(config_map: Json | None) -> dict[str, list[str]]:
    """Return image -> command of a ConfigMap; what is not ours is left out."""
    found = dict[str, list[str]]()
    for text in _data(config_map).values():
        try:
            entry = cast("Json", json.loads(text))
            found[str(entry["image"])] = [str(word) for word in entry["command"]]
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _data(config_map: Json | None) -> dict[str, str]:
    return cast("dict[str, str]", (config_map or {}).get("data") or {})


def _list(args: argparse.Namespace) -> int:
    from podwire.emulator.images import catalogue  # noqa: PLC0415 - only for the list

    rows = [(name, says) for name, says in catalogue.names()]
    try:
        with session.connect(args) as connection:
            added = additions(connection.find(f"{_PATH}/{CONFIG_MAP}"))
    except (NotRunning, UsageError):
        added = {}  # without a cluster there is the catalogue alone
    rows += [(image, f"added: {' '.join(command)}") for image, command in sorted(added.items())]
    if args.output == "json":
        say_json([{"image": image, "runs": says} for image, says in rows])
    else:
        say_table(("IMAGE", "RUNS"), rows)
    return 0
