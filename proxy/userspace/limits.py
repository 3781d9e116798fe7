"""How many files, so how many connections, this process may have open."""

import resource

_OTHERS = 256  # listeners, pipes, the connection to the API server


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; return how many sockets that leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(hard - _OTHERS, hard // 2)
