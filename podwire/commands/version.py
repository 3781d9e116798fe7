"""`podwire version`."""

import argparse
import platform

from podwire import __version__
from podwire.commands.output import say, say_json

EPILOG = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.output == "json":
        say_json({"podwire": __version__, "python": platform.python_version()})
    else:
        say(f"podwire {__version__} (Python {platform.python_version()})")
    return 0
