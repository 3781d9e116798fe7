"""The command `podwire`: finds the verb, loads its module alone, and turns errors to exit statuses.

Start-up is light on purpose: `podwire ls` must be done before a person notices. So each verb's
module is imported by name, and imports its heavy libraries where it needs them.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, Protocol, cast

from podwire.commands import interruptions
from podwire.commands.output import drop_output, is_of_output, say
from podwire.errors import ApiError, PodwireError, UsageError

# Verb -> one line for --help. The module is podwire.commands.VERB, with _ for -.
VERBS = {
    "up": "start a cluster, and apply manifests to it",
    "down": "end a cluster; nothing of it stays",
    "ls": "list the clusters that run",
    "status": "say what runs in a cluster and whether it is ready",
    "kubeconfig": "print the kubeconfig of a cluster",
    "exec": "run a command in a pod, on a node, or on the host outside",
    "shell": "open a shell in a pod, on a node, or on the host outside",
    "capture": "record packets of pods, nodes and the outside to a pcapng file",
    "trace": "make one request, and prove from captured packets which way it went",
    "compare-modes": "make one request in several modes of the proxy, and show what differs",
    "proxy": "show what the kube-proxy of each node serves, and why not more",
    "dns": "ask DNS from inside a pod, and show what each step of its search costs",
    "logs": "print the logs of a pod, or of the cluster itself",
    "images": "list, add and remove what runs under an image's name",
    "doctor": "check what this machine offers, and say how to mend what it lacks",
    "completion": "print the completion script of a shell",
    "version": "print the version",
}

_TAKES_COMMAND = ("exec", "trace", "images")

# Every verb takes these, so that they may stand before it in an alias; help is silent where they
# change nothing.
_SHARED = (
    ("--name", "NAME", "the cluster's name (default: podwire)"),
    ("--context", "CONTEXT", "a context of the kubeconfig"),
    ("--kubeconfig", "PATH", "use this file (default: $KUBECONFIG, ~/.kube/config)"),
)
_OF_NO_CLUSTER = ("doctor", "completion", "version")
_UNHEARD = (("--context", "up"),)

_EPILOG = """\
a first session:
  podwire up -f examples/web.yaml
  kubectl get nodes,pods,svc -A -o wide
  podwire exec client -- curl -s http://web-svc
  podwire trace client http://web-svc
  podwire down

every verb explains itself: podwire VERB --help.  exit statuses: docs/exit-codes.md
"""


class Verb(Protocol):
    """What a module of podwire.commands offers."""

    EPILOG: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status."""
        ...


class Parser(argparse.ArgumentParser):
    """argparse, except that a mistake is a UsageError (exit status 64)."""

    def error(self, message: str) -> NoReturn:
        """Raise what the command line ends with."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and self.prog.split()[-1] in _TAKES_COMMAND and unknown[:1] != "-":
            message = f"{message}\n  if that is the command to run, it comes after --"
        raise UsageError(f"{message}\n  {self.format_usage().strip()}\n  more: {self.prog} --help")

    def print_help(self, file: object = None) -> None:
        """Print it; unlike argparse's own, fail where that fails."""
        say(self.format_help().rstrip())
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # the program itself, not a call from another one
        _open_standard_streams()
        interruptions.listen()
    try:
        status = _run(words)
        sys.stdout.flush()
    except PodwireError as error:
        return _fail(error)
    except KeyboardInterrupt as interrupt:
        name = interrupt.args[0] if interrupt.args else signal.SIGINT
        sys.stderr.write("\npodwire: interrupted\n")
        return 128 + int(name)
    except BrokenPipeError:
        drop_output()  # whoever read it has gone (| head)
        return 0
    except SystemExit as end:  # argparse after --help
        return int(end.code or 0)
    except Exception as error:  # noqa: BLE001 - the last line of defence, and it says so
        if is_of_output(error):
            drop_output()
            return _fail(PodwireError(f"cannot write standard output: {error}"))
        return _bug(error)
    return status


def parser_of(verb: str) -> Parser:
    """Return the parser of one verb, with its arguments and those that all verbs share."""
    module = _module(verb)
    parser = Parser(
        prog=f"podwire {verb}",
        description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.",
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    shared = parser.add_argument_group("which cluster")
    for option, value, text in _SHARED:
        heard = verb not in _OF_NO_CLUSTER and (option, verb) not in _UNHEARD
        shared.add_argument(option, metavar=value, help=text if heard else argparse.SUPPRESS)
    return parser


def _run(words: list[str]) -> int:
    command: list[str] | None = None
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    verb, rest = _split(words)
    if not verb:
        if not rest or set(rest) & {"-h", "--help"}:
            say(_overview().rstrip())
            return 0 if rest else 64
        if "--version" in rest:
            return _run(["version"])
        raise UsageError(f"a verb is missing\n  one of: {', '.join(VERBS)}")
    if verb == "help":
        rest = ["--help"]
        verb = next((word for word in words if word in VERBS), "")
        if not verb:
            say(_overview().rstrip())
            return 0
    if verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}{_meant(verb)}\n  one of: {', '.join(VERBS)}")
    if command is not None and verb not in _TAKES_COMMAND:
        raise UsageError(f"podwire {verb} takes no command after --\n  more: podwire {verb} --help")
    # Intermixed: options may stand between two words of which the second may be left out.
    args = parser_of(verb).parse_intermixed_args(rest)
    args.command = command
    return _module(verb).run(args)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Return (verb, the other words); global options may stand before the verb."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        takes_value = words[position] in (option for option, _, _ in _SHARED)
        if takes_value and position + 1 == len(words):
            raise UsageError(f"{words[position]} needs a value, and a verb after it")
        position += 2 if takes_value else 1
    if position >= len(words):
        return "", words
    return words[position], words[:position] + words[position + 1 :]


def _module(verb: str) -> Verb:
    return cast("Verb", importlib.import_module(f"podwire.commands.{verb.replace('-', '_')}"))


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        "usage: podwire [--name NAME] VERB ...\n\n"
        "Kubernetes pod and service networking on one machine: real network namespaces, real\n"
        "packets, no root, no images, nothing left behind.\n\n"
        f"verbs:\n{verbs}\n\n{_EPILOG}"
    )


def _meant(verb: str) -> str:
    import difflib  # noqa: PLC0415 - only for a mistyped verb

    close = difflib.get_close_matches(verb, VERBS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _fail(error: PodwireError) -> int:
    message = str(error)
    if isinstance(error, ApiError) and "\n" not in message:
        message = f"{message} ({error.reason or error.code})"
    sys.stderr.write(f"podwire: {message}\n")
    return error.exit_status


def _bug(error: Exception) -> int:
    import traceback  # noqa: PLC0415 - only for a bug

    if os.environ.get("PODWIRE_DEBUG"):
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    sys.stderr.write(
        f"podwire: a fault of podwire: {type(error).__name__}: {error}"
        f" ({where.filename}:{where.lineno})\n"
        "  run it again with PODWIRE_DEBUG=1 and report what it prints\n"
    )
    return 70


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: some socket would get its number."""
    with suppress(OSError):  # there is no /dev, in a bare chroot
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
