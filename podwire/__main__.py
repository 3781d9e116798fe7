"""The command `podwire`, also as `python -m podwire`; even while it loads, Ctrl-C just ends it."""

import signal
import sys

# Python's own handler would raise in the middle of an import. What is ignored stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from podwire.cli import main

if __name__ == "__main__":
    sys.exit(main())
