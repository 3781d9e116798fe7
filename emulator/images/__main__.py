"""`python -m podwire.emulator.images PROGRAM ...`: a stand-in as a container's command."""

import os
import sys

from podwire.emulator.loading import swift_imports

with swift_imports():
    from podwire.emulator.images import agnhost, echo, pause, web

PROGRAMS = {"agnhost": agnhost.main, "echo": echo.main, "pause": pause.main, "web": web.main}


def main() -> int:
    """Run the program that is named first; returns its exit status."""
    name, *rest = sys.argv[1:] or [""]
    if name not in PROGRAMS:
        print(f"no stand-in {name!r}; there are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 64
    return PROGRAMS[name](rest, os.environ)


if __name__ == "__main__":
    sys.exit(main())
