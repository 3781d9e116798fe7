"""Unix sockets by path that are there only when somebody can connect to them."""

import socket
from pathlib import Path


def listening(path: Path, *, backlog: int, mode: int | None = None) -> socket.socket:
    """Return a socket that listens at *path*; what was there before is replaced.

    It gets its name last: bound and not listening yet, it would refuse who has waited for the path.
    """
    unfinished = path.with_name(f".{path.name}")
    unfinished.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(str(unfinished))
        if mode is not None:
            unfinished.chmod(mode)
        server.listen(backlog)
        unfinished.replace(path)
    except BaseException:
        server.close()
        unfinished.unlink(missing_ok=True)
        raise
    return server
