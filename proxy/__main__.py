"""`python -m podwire.proxy`: the proxy of one node."""

import os
import sys

from podwire.proxy.program import main

sys.exit(main(sys.argv[1:], os.environ))
