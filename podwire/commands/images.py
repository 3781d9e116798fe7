"""`podwire images`: what runs under an image's name; no image is ever pulled."""

import argparse
from typing import Any, cast

from podwire.commands import session
from podwire.commands.output import say, say_json, say_table
from podwire.emulator import own_images
from podwire.errors import NotRunning, PodwireError, UsageError

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire images                                       the catalogue, and what was added
  podwire images add example.com/shop -- python3 -m http.server 8000
  podwire images rm example.com/shop

An addition belongs to one running cluster; `podwire up --image NAME=COMMAND`, or `images:` in its
--config file, makes it at the start. Its command runs in the pod, with this machine's programs and
files, read-only.
"""

_PATH = f"/api/v1/namespaces/{own_images.NAMESPACE}/configmaps"
_CONFIG_MAP = f"{_PATH}/{own_images.NAME}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.usage = "podwire images [options] [ls | add NAME -- COMMAND... | rm NAME]"
    parser.add_argument("what", nargs="?", choices=("ls", "add", "rm"), default="ls")
    parser.add_argument("image", nargs="?", metavar="NAME", help="an image's name, without a tag")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """List, add or remove."""
    if args.what == "ls" and (args.image or args.command):
        raise UsageError("ls lists all of them\n  podwire images ls")
    if args.what == "ls":
        return _list(args)
    if args.output != "text":
        raise UsageError(f"{args.what} has no output to choose\n  leave out -o {args.output}")
    if not args.image:
        raise UsageError(f"which image?\n  podwire images {args.what} NAME ...")
    if args.what == "add" and not args.command:
        raise UsageError("what does it run?\n  podwire images add NAME -- COMMAND...")
    if args.what == "rm" and args.command:
        raise UsageError("rm takes no command\n  podwire images rm NAME")
    key = own_images.key_of(args.image)
    command = own_images.beside(args.command, session.folder()) if args.command else ()
    value = own_images.value_of(args.image, command) if command else None
    with session.connect(args) as connection:
        present = connection.find(_CONFIG_MAP)
        if args.what == "rm" and key not in _data(present):
            raise PodwireError(f"{args.image} was not added\n  see: podwire images")
        if present is None:
            connection.create(_PATH, own_images.config_map({args.image: command}))
        else:
            connection.patch(_CONFIG_MAP, {"data": {key: value}})
    say(f"image {args.image} {'added' if args.command else 'removed'}")
    return 0


def _data(config_map: Json | None) -> dict[str, str]:
    return cast("dict[str, str]", (config_map or {}).get("data") or {})


def _list(args: argparse.Namespace) -> int:
    from podwire.emulator.images import catalogue  # noqa: PLC0415 - only for the list

    rows = [(name, says) for name, says in catalogue.names()]
    try:
        with session.connect(args) as connection:
            added = own_images.added(_data(connection.find(_CONFIG_MAP)))
    except (NotRunning, UsageError):
        added = {}  # without a cluster there is the catalogue alone
    rows += [(image, f"added: {' '.join(command)}") for image, command in sorted(added.items())]
    if args.output == "json":
        say_json([{"image": image, "runs": says} for image, says in rows])
    else:
        say_table(("IMAGE", "RUNS"), rows)
    return 0
