"""Finding the verb, mistakes, exit statuses, start-up."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from podwire import errors
from podwire.cli import VERBS, main


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 64, "usage: podwire"),
        (["lss"], 64, "there is no verb 'lss'; did you mean 'ls'?"),
        (["--name", "x"], 64, "a verb is missing"),
        (["ls", "--nme", "x"], 64, "unrecognized arguments: --nme"),
        (["ls", "--", "x"], 64, "podwire ls takes no command after --"),
        (["exec", "client"], 64, "a command is missing"),
        (
            ["exec", "client", "curl", "-s", "http://web"],
            64,
            "the command to run, it comes after --",
        ),
        (["exec", "-t", "client", "--context", "x", "--", "ls"], 64, "there is no context 'x'"),
        (["trace", "client"], 64, "trace what?"),
        (["images", "add"], 64, "which image?"),
        (["images", "add", "x"], 64, "what does it run?"),
        (["images", "rm", "x", "--", "y"], 64, "rm takes no command"),
        (["status", "--name", "x", "--context", "y"], 64, "--name and --context exclude"),
        (["ls", "--name", "x", "--context", "y"], 64, "--name and --context exclude"),
        (["logs", "--name", "x", "--context", "y"], 64, "--name and --context exclude"),
        (["logs", "--tail", "5"], 64, "the cluster's own log is printed whole"),
        (["logs", "-f"], 64, "the cluster's own log is printed whole"),
        (["logs", "-c", "web"], 64, "the cluster's own log is printed whole"),
        (["capture", "--list", "-w", "x"], 64, "--list records nothing"),
        (["capture", "-w", "-", "-o", "json"], 64, "standard output gets the packets"),
        (["trace", "a", "b:1", "-w", "x", "--no-pcap"], 64, "-w and --no-pcap exclude"),
        (["dns", "query", "a", "--short", "-o", "json"], 64, "--short is text"),
        (["proxy", "thaw", "--node", "n", "-o", "json"], 64, "thaw has no output to choose"),
        (["images", "ls", "x"], 64, "ls lists all of them"),
        (["images", "ls", "--", "x"], 64, "ls lists all of them"),
        (["images", "rm", "x", "-o", "json"], 64, "rm has no output to choose"),
        (["ls", "--name", "nobody"], 0, "cluster 'nobody' does not run"),
        (["version"], 0, "podwire 0"),
        (["--version"], 0, "podwire 0"),
        (["help", "up"], 0, "usage: podwire up"),
        (["completion", "tcsh"], 64, "invalid choice"),
    ],
)
def test_words(
    words: list[str], status: int, message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/config")
    assert main(words) == status
    said = capsys.readouterr()
    assert message in said.out + said.err


def raising(error: BaseException) -> Callable[[object], int]:
    def run(_args: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (errors.UsageError("what\n  next"), 64, "podwire: what\n  next\n"),
        (errors.MachineError("lack"), 69, "podwire: lack\n"),
        (errors.TimedOut("late"), 124, "podwire: late\n"),
        (errors.ApiError.of(404, "NotFound", "gone"), 1, "podwire: gone (NotFound)\n"),
        (KeyboardInterrupt(), 130, "podwire: interrupted"),
        (KeyboardInterrupt(15), 143, "podwire: interrupted"),
        (ZeroDivisionError("oops"), 70, "a fault of podwire: ZeroDivisionError: oops"),
    ],
)
def test_errors_become_statuses(
    error: BaseException, status: int, message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("podwire.commands.version.run", raising(error))
    assert main(["version"]) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_each_verb_and_its_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in VERBS:
        assert verb in script
    assert "nodes" in script


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("podwire st", "status"),
        ("podwire --name x up --no", "--nodes --no-wait"),
        ("podwire --na", "--name"),
        ("podwire up --proxy-mode n", "nftables"),
        ("podwire up -o ", "text json"),
        ("podwire up -f /etc/host", "/etc/host.conf /etc/hostname /etc/hosts"),
        ("podwire up --timeout ", ""),
        ("podwire images r", "rm"),
        ("podwire completion ", "bash zsh fish"),
        ("podwire exec --name blue n", "node/of---name-blue"),
        ("podwire trace node/", "node/of-"),
        ("podwire exec client -- cu", ""),
        ("podwire logs -", "-h --help -f --follow -c --container -n --namespace -p --previous "
         "--tail --since --timestamps --name --context --kubeconfig"),
        ("podwire down --name b", "blue"),
    ],
)  # fmt: skip
def test_the_completion_of_bash_completes(
    line: str, offered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    words = line.split(" ")
    script = f"""
podwire() {{ case "$1" in ls) echo red blue;; *) (shift 2; IFS=-; echo "node/of-$*");; esac; }}
{capsys.readouterr().out}
COMP_WORDS=({" ".join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}
_podwire; echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    given = set(done.stdout.split())
    assert given >= set(offered.split())
    assert bool(given) == bool(offered)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["version", "images", "--help", "up --help"])
def test_a_full_disk_under_the_output_is_named(words: str, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-P", "-m", "podwire", *words.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.stderr.startswith("podwire: cannot write standard output: ")
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)


def test_closed_standard_streams_are_open_on_nothing() -> None:
    code = "import sys, podwire.cli as cli; cli._open_standard_streams(); import socket; "
    code += "print('lost'); sys.exit(10 + socket.socket().fileno())"
    shell = f"exec {sys.executable} -P -c {shlex.quote(code)} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", shell], check=False).returncode > 12


@pytest.mark.parametrize("verb", ["ls", "up", "down", "exec"])
def test_a_verb_starts_without_the_big_libraries(verb: str) -> None:
    heavy = "{'aiohttp', 'asyncio', 'scapy', 'cryptography', 'ssl', 'msgspec'}"
    code = f"import sys, podwire.commands.{verb}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
