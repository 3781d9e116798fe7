"""The built-in pause: does nothing until it is told to end."""

import signal
from collections.abc import Mapping, Sequence


def main(_argv: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Wait for SIGTERM or SIGINT; returns the exit status."""
    # As the first process of a pod's containers it inherits their orphans: the kernel takes them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    numbers = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    signal.sigwait(numbers)
    return 0
