"""Finding the verb, mistakes, exit statuses, start-up."""

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
        (["exec", "-t", "client", "--context", "x", "--", "ls"], 64, "there is no context 'x'"),
        (["trace", "client"], 64, "trace what?"),
        (["images", "add"], 64, "which image?"),
        (["images", "add", "x"], 64, "what does it run?"),
        (["images", "rm", "x", "--", "y"], 64, "rm takes no command"),
        (["status", "--name", "x", "--context", "y"], 64, "--name and --context exclude"),
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


def test_the_completion_of_bash_completes() -> None:
    script = f"""
source <({sys.executable} -P -m podwire completion bash)
COMP_WORDS=(podwire st); COMP_CWORD=1; _podwire; echo "${{COMPREPLY[*]}}"
COMP_WORDS=(podwire --name x up --no); COMP_CWORD=4; _podwire; echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["status", "--nodes --no-wait"]


@pytest.mark.parametrize("verb", ["ls", "up", "down", "exec"])
def test_a_verb_starts_without_the_big_libraries(verb: str) -> None:
    heavy = "{'aiohttp', 'asyncio', 'scapy', 'cryptography', 'ssl', 'msgspec'}"
    code = f"import sys, podwire.commands.{verb}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
