"""`python -m podwire.emulator.node`: one node of the cluster, in its container."""

import os
import sys

from podwire.emulator.loading import swift_imports

with swift_imports():
    from podwire.emulator.node.program import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
