"""Runs a coroutine of a test module in namespaces of its own, as root there, rootless or not.

    answer = inside.play(scenario, question)    # scenario is `async def scenario(question): ...`

The coroutine is looked up by its name in a process of its own; question and answer are JSON. All
that it starts ends with it: it is the first process of its process namespace.
"""

import asyncio
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from podwire import linux
from podwire.emulator.trial import enter_namespaces
from tests.needs import lack, need

ROOT = Path(__file__).resolve().parents[3]

# What a pod's resolv.conf of the recordings says; the real one names servers of the machine.
RESOLV_CONF = "nameserver 192.0.2.254\nsearch node.example\n"


@cache
def lacking() -> str:
    """Return why this machine gives us no namespaces, as a sentence; empty if it does."""
    # In a process of its own, for this one may have threads.
    code = "import json; from podwire.emulator.trial import run_trial as run; "
    code += "print(json.dumps(run(thorough=False)))"
    tried = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        return tried.stderr.strip().rpartition("\n")[2]
    steps: dict[str, str] = json.loads(tried.stdout)
    return "; ".join(f"{s}: {steps[s]}" for s in ("namespaces", "proc") if steps.get(s))


def play(scenario: Callable[[Any], Awaitable[Any]], question: Any, *, within: float = 120.0) -> Any:
    """Return what *scenario* answers to *question*.

    Skips the test where there are no namespaces. Raises AssertionError with all that was printed
    when the scenario fails, or takes more than *within* seconds.
    """
    need("ip")
    if missing := lacking():
        lack(f"the DNS server's tests need namespaces: {missing}")
    module = inspect.getmodule(scenario)
    assert module is not None
    with tempfile.TemporaryDirectory(prefix="podwire-dns-") as folder:
        asked, told = Path(folder, "question"), Path(folder, "answer")
        asked.write_text(json.dumps(question))
        command = [sys.executable, "-P", "-m", __name__, module.__name__, scenario.__name__, folder]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=within,
                # Its own temporary folders are in ours: they go, however it ends.
                env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder},
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode() + (error.stderr or b"").decode()
            raise AssertionError(f"{scenario.__name__} took over {within:g} s:\n{said}") from None
        if done.returncode != 0 or not told.exists():
            raise AssertionError(
                f"{scenario.__name__} failed inside:\n{done.stdout[-8000:]}{done.stderr[-8000:]}"
            )
        return json.loads(told.read_text())


def main(module: str, name: str, folder: str) -> int:
    """Run the scenario *name*; return 0 if it ended well."""
    enter_namespaces()
    linux.die_with_parent()
    first = os.fork()
    if first == 0:
        _be_first(module, name, Path(folder))
    _pid, status = os.waitpid(first, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _be_first(module: str, name: str, folder: Path) -> NoReturn:
    status = 1
    try:
        linux.die_with_parent()
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        options = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", "/proc", "proc", options)
        linux.allow_many_descriptors()
        resolv_conf = folder / "resolv.conf"
        resolv_conf.write_text(RESOLV_CONF)
        if Path("/etc/resolv.conf").exists():
            linux.mount(str(resolv_conf), "/etc/resolv.conf", "", linux.MS_BIND)
        scenario = getattr(importlib.import_module(module), name)
        answer = asyncio.run(scenario(json.loads((folder / "question").read_text())))
        (folder / "answer").write_text(json.dumps(answer))
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
