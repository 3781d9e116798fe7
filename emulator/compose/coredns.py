"""`python -m podwire.emulator.compose.coredns`: what the service `coredns` runs.

The DNS server, loaded while `api` starts, which writes the Corefile.
"""

import os
import sys
import time
from collections.abc import Mapping

from podwire.emulator.loading import swift_imports

with swift_imports():
    from podwire.dns.program import main
    from podwire.emulator.compose.settings import from_environ

LOOK = 0.02
"""Seconds between looks for the Corefile."""


def serve(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return the exit status."""
    settings = from_environ(environ)
    while not settings.corefile.exists():
        time.sleep(LOOK)
    return main(["-conf", str(settings.corefile), f"--api={settings.dns_socket}"], environ)


if __name__ == "__main__":
    sys.exit(serve(os.environ))
