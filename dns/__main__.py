"""`python -m podwire.dns`: the DNS pod's process."""

import os
import sys

from podwire.dns.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
