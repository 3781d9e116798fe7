"""What a new cluster is made of: the options of `podwire up` that say so, and its --config file."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import get_args

from podwire.commands import session
from podwire.emulator import config, config_file, own_images
from podwire.emulator.config import ClusterConfig
from podwire.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--config", metavar="FILE", help="what the cluster is made of")
    parser.add_argument("--nodes", metavar="N", help="how many nodes (default: 3)")
    parser.add_argument(
        "--proxy-mode",
        choices=get_args(config.ProxyMode),
        help="how kube-proxy serves Services (default: userspace)",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="what an image runs that the catalogue does not have; may be repeated",
    )
    parser.add_argument(
        "--resolv-conf",
        metavar="FILE",
        help="the nodes' /etc/resolv.conf: where cluster DNS forwards to, and more search domains",
    )


def cluster_config(args: argparse.Namespace) -> ClusterConfig:
    """Return what --config, --name and --nodes ask for; the options win over the file."""
    wanted = ClusterConfig()
    if args.config:
        try:
            text = sys.stdin.read() if args.config == "-" else Path(args.config).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {args.config}: {error}") from error
        wanted = config_file.parse(text, "standard input" if args.config == "-" else args.config)
        folder = str(Path(session.folder(), args.config).parent)
        images = {name: own_images.beside(words, folder) for name, words in wanted.images.items()}
        wanted = dataclasses.replace(wanted, images=images)
    if args.name:
        wanted = dataclasses.replace(wanted, name=config.checked_name(args.name))
    if args.nodes is not None:
        count = int(args.nodes) if args.nodes.isdigit() else 0
        if not 1 <= count <= config.MOST_NODES:
            raise UsageError(f"--nodes: {args.nodes} is not a number from 1 to {config.MOST_NODES}")
        wanted = dataclasses.replace(wanted, nodes=config.numbered_nodes(count))
    if args.proxy_mode:
        wanted = dataclasses.replace(wanted, proxy_mode=args.proxy_mode)
    if args.resolv_conf:
        wanted = dataclasses.replace(wanted, resolv_conf=_resolv_conf(args.resolv_conf))
    added = dict(map(_image, args.image))
    return dataclasses.replace(wanted, images={**wanted.images, **added})


def _image(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, command = text.partition("=")
    try:
        if not name:
            raise ValueError("it says no name")
        return name, own_images.beside(own_images.split(command), session.folder())
    except ValueError as error:
        raise UsageError(f"--image {text}: {error}\n  write NAME='COMMAND ARGUMENT...'") from error


def _resolv_conf(path: str) -> str:
    from ipaddress import ip_address  # noqa: PLC0415 - few ask for it

    from podwire.emulator.kubelet import resolver  # noqa: PLC0415

    try:
        text = Path(path).read_text("utf-8")
        found = resolver.parse(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"--resolv-conf: cannot read {path}: {error}") from error
    if not found.nameservers:
        raise UsageError(
            f"--resolv-conf: {path} has no nameserver line\n"
            "  without one, programs ask their own machine"
        )
    for server in found.nameservers:
        try:
            ip_address(server)
        except ValueError as error:
            raise UsageError(
                f"--resolv-conf: {path}: the nameserver {server!r} is no address\n"
                "  cluster DNS, which forwards to it, would not start: write its address"
            ) from error
    return text
