"""`python -m podwire.emulator.compose`: what the service `api` runs."""

import os
import sys

from podwire.emulator.loading import swift_imports

with swift_imports():
    from podwire.emulator.compose.program import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
