"""The programs that may ask in a traced pod, in the order in which they are tried, and their words.

None of them is asked for proof: that is in the packets. They only say whose flow it was.
"""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.emulator.trace import fetch
from podwire.emulator.trace.case import ClientReport
from podwire.emulator.trace.request import Connect, Fetch
from podwire.errors import UsageError

FETCH = "builtin:fetch"
"""The first word of a command that means the built-in client (podwire.emulator.trace.fetch)."""

NOT_THERE = frozenset({126, 127, 128})  # what exec reports of a program that does not exist

_CURL = "%{http_code} %{time_total} %{local_port}"


@dataclass(frozen=True, slots=True)
class Execution:
    """How a command ended."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A program with its arguments, and how to read what it said."""

    argv: tuple[str, ...]
    report: Callable[[Execution], ClientReport]


def clients(request: Fetch | Connect, limit: float, *, builtins: bool) -> tuple[Client, ...]:
    """Return what may ask *request* within *limit* seconds, the best first.

    *builtins* says whether FETCH runs in every pod; else only what the pod's image has.
    """
    curl = (
        "curl", "-sS", "-o", "/dev/null", "--noproxy", "*", "--max-time", f"{limit:g}",
        "-w", _CURL, request.url,
    )  # fmt: skip
    asked = ("--timeout", f"{limit:g}", request.url)
    by_curl = (Client(curl, _of_curl),) if isinstance(request, Fetch) else ()
    if builtins:
        return (*by_curl, Client((FETCH, *asked), _of_fetch))
    # The built-in client needs nothing but Python's own library.
    program = inspect.getsource(fetch)
    by_python = tuple(
        Client((name, "-c", program, *asked), _of_fetch) for name in ("python3", "python")
    )
    if isinstance(request, Fetch):
        # BusyBox's wget may know no limit; ours ends it. GNU's would try 20 times.
        wget = ("wget", "-nv", "-t", "1", "-O", "/dev/null", request.url)
        return (*by_curl, Client(wget, of_any), *by_python)
    if request.protocol == "UDP":
        return by_python
    nc = ("nc", "-w", f"{max(1, round(limit))}", request.host, str(request.port))
    return (*by_python, Client(nc, of_any))


def not_running(source: str, said: str) -> UsageError | None:
    """Return the error of a pod that does not run, by what exec *said* of it; None if it runs."""
    # The kubelet's words.
    if "container not found" not in said and "completed pod" not in said:
        return None
    namespace, _, name = source.rpartition("/")
    return UsageError(
        f"{source} does not run\n  see why: kubectl -n {namespace} describe pod {name}"
    )


def nothing_to_ask_with(source: str, tried: Sequence[Client]) -> UsageError:
    """Return the error of a pod that has none of the programs that were *tried*."""
    names = [client.argv[0] for client in tried]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return UsageError(
        f"nothing in {source} can ask: its image lacks {listed}\n"
        f"  name a program that it has: podwire trace {source} -- COMMAND\n"
        "  or trace from another pod"
    )


def of_any(done: Execution) -> ClientReport:
    """Return what can be said of a program that is not known."""
    return ClientReport(done.exit_code, error=_last_line(done.stderr) if done.exit_code else "")


def _of_curl(done: Execution) -> ClientReport:
    words = done.stdout.split()
    numbers = [int(word) if word.isdigit() else 0 for word in words]
    return ClientReport(
        exit_code=done.exit_code,
        status=numbers[0] if numbers else 0,
        local_port=numbers[2] if len(numbers) > 2 else 0,
        timed_out=done.exit_code == fetch.TIMED_OUT,
        error=_last_line(done.stderr),
    )


def _of_fetch(done: Execution) -> ClientReport:
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return ClientReport(done.exit_code, error=_last_line(done.stderr))
    return ClientReport(
        exit_code=done.exit_code,
        status=int(said.get("status") or 0),
        local_port=int(said.get("local_port") or 0),
        timed_out=done.exit_code == fetch.TIMED_OUT,
        error=str(said.get("error") or ""),
    )


def _last_line(text: str) -> str:
    """Return the line in which a program says why it failed; curl goes on with advice."""
    lines = text.strip().splitlines()
    return next((line for line in lines if line.startswith("curl: (")), lines[-1] if lines else "")
