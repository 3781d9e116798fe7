"""A fork server as a process of its own, without namespaces: run by the fixture `forks`."""

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence

from podwire.emulator.sandbox.forkserver import ForkServer


def greet(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    print(f"hello {' '.join(argv)}, {environ.get('NAME')} {os.environ.get('NAME')}")  # noqa: T201
    print("and to you", file=sys.stderr)  # noqa: T201
    return len(argv)


def ask(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    del argv, environ
    sys.stdout.write(sys.stdin.read().upper())
    return 0


def leave(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    del environ
    kind, value = argv
    if kind == "raise":
        raise ValueError(value)
    sys.exit({"none": None, "text": value}[kind] if kind in ("none", "text") else int(value))


def rest(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    del environ
    time.sleep(float(argv[0]))
    return 0


BUILTINS = {"greet": greet, "ask": ask, "leave": leave, "rest": rest}

if __name__ == "__main__":
    ForkServer(socket.socket(fileno=int(sys.argv[1])), BUILTINS).run({}, lambda _: None)
