"""All servers of `external`, the internet of the cluster's world, in one process: web and echo."""

from collections.abc import Mapping, Sequence

from podwire.emulator.images import echo, web
from podwire.emulator.images.serving import until_told

WEB_PORT = 80
ECHO_PORT = 7


def main(_argv: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; returns the exit status."""
    return until_told(
        lambda stop: web.serve(WEB_PORT, "", stop), lambda stop: echo.serve(ECHO_PORT, stop)
    )
