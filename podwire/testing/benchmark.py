"""What every benchmark's command line has in common: options, progress, the table, the status."""

import argparse
import json
import sys
from collections.abc import Sequence

from podwire.testing.figures import Figure, complaints, summary


class Benchmark:
    """One benchmark's command line: parse, say what happens, finish with the figures."""

    def __init__(self, description: str, *, rounds: int) -> None:
        self.parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.parser.add_argument(
            "--rounds", type=int, default=rounds, help=f"how often (default: {rounds})"
        )
        add_shared(self.parser)
        self._to_stderr = False

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options."""
        options = self.parser.parse_args(argv)
        self._to_stderr = options.output == "json"
        return options

    def say(self, text: str) -> None:
        """Print a line of progress now, also into a pipe."""
        print(text, file=sys.stderr if self._to_stderr else sys.stdout, flush=True)

    def finish(self, figures: Sequence[Figure], options: argparse.Namespace) -> int:
        """Print the figures; return 1 if one misses what --check asks for, else 0."""
        return finish(figures, options)


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add --check and --output."""
    parser.add_argument(
        "--check",
        nargs="?",
        const="goals",
        choices=("goals", "limits"),
        help="exit with 1 when a goal is missed, and name it; or only when a limit is",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def finish(figures: Sequence[Figure], options: argparse.Namespace) -> int:
    """Print the figures as a table or as JSON; return 1 if one misses what --check asks for."""
    if options.output == "json":
        print(json.dumps([figure.document() for figure in figures], indent=2))  # noqa: T201
    else:
        print("\n" + summary(figures))  # noqa: T201
    if options.check is None:
        return 0
    missed = complaints(figures, options.check)
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)  # noqa: T201
    return 1 if missed else 0
