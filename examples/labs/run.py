#!/usr/bin/env python3
"""Replays the labs beside this file: types each command, compares what comes with what is shown.

    run.py [LAB...]          all labs, or those whose names begin so: run.py 01 05
    run.py PAGE.md...        another page with such commands, from the root of the project

It works on the current context of the kubeconfig and needs kubectl and bash, nothing of Podwire's.
A lab's text is the only source: the commands after `$ ` in its console blocks (`> ` continues one)
and the lines below them. What differs from run to run stands for its kind: any address, generated
name, age, node or high port will do; but an address or a generated name that the text shows again
must be one that was there before, and a new one must be new. `...` stands for anything.

A command that changes nothing is repeated until it shows what the text says (components need a
moment), 30 seconds at most. Sections called "Clean up" run whatever happened; those with "podwire"
in their name only on a cluster of Podwire's. Exit status: 0 all as the labs say, 1 not so, 2
nothing could be tried.
"""

import contextlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LABS = Path(__file__).resolve().parent
PATIENCE = 30.0  # seconds that a command may take, and that one is repeated for
PAUSE = 0.2

# Generated names end in these letters and digits only, so that they make no words.
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
# What differs from run to run: what it looks like. The first that fits counts.
SHAPES = {
    "address": r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",
    "name": rf"\b[a-z][a-z0-9-]*?(?:-{_RANDOM}{{6,10}})?-{_RANDOM}{{5}}(?![\w-])",
    "replicas": rf"\b[a-z][a-z0-9-]*?-{_RANDOM}{{6,10}}(?![\w-])",
    "node": r"\bnode-\d\b",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "age": r"(?<![\w.-])(?:\d+[smhd])+(?![\w.-])",
    "port": r"(?<![\d.])[3-6]\d{4}(?![\d.])",
    "hop": r"(?m:^\d+(?= \d+\.\d\d | \.\.\. ))",
    "length": r"(?<![\w.])\d+\.\d+ ms\b",
}
_NODE = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_VARYING = re.compile("|".join(f"(?P<{kind}>{shape})" for kind, shape in SHAPES.items()))
# Of these the text must be right about which is which.
_KNOWN_AGAIN = ("address", "name", "replicas")
_CHANGES = re.compile(
    r"\bkubectl (?:-n \S+ )?(?:annotate|apply|config|cordon|create|delete|drain|expose|label|patch"
    r"|replace|run|scale|set|taint|uncordon|rollout (?:restart|undo))\b|\btouch\b|\brm\b|images add"
)
_FAILS = re.compile(
    r"^command terminated with exit code|^error:|^Error |^The \w+ \"|^curl: |^no$"
    r"|verdict: (?:refuted|inconclusive)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, what the text shows below it ("" is not compared), and where it stands."""

    section: str
    line: int
    command: str
    shown: str


class NotAsSaid(Exception):
    """A command did something else than the lab's text says."""


def steps(text: str) -> Iterator[Step]:
    """Return the commands of a lab in order."""
    section, inside = "", False
    command, shown, line = list[str](), list[str](), 0
    for number, content in enumerate([*text.split("\n"), "```"], 1):
        starts = inside and content.startswith("$ ")
        if command and (starts or content == "```"):
            yield Step(section, line, "\n".join(command), "\n".join(shown).strip("\n"))
            command, shown = [], []
        if starts:
            command, line = [content[2:]], number
        elif content.startswith("```"):
            inside = content == "```console"
        elif not inside and content.startswith("## "):
            section = content[3:]
        elif inside and content.startswith("> ") and not shown:
            command.append(content[2:])
        elif inside:
            shown.append(content)


@dataclass
class Seen:
    """The addresses and names that the text and the cluster have shown so far."""

    text: set[str] = field(default_factory=set[str])
    cluster: set[str] = field(default_factory=set[str])

    def objection(self, shown: str, found: str) -> str:
        """Return what is wrong with *found*, or "" and remember what both show."""
        match = re.fullmatch(_pattern(shown), _plain(found) + "\n")
        if match is None:
            return "this is not what the text shows"
        there = [m for m in _VARYING.finditer(_plain(shown)) if m.lastgroup in _KNOWN_AGAIN]
        wanted, given = {m[0] for m in there}, set(match.groups())
        if len(wanted) != len(given):
            return f"the text shows {len(wanted)} different addresses and names, not {len(given)}"
        if len(wanted & self.text) != len(given & self.cluster):
            old = ", ".join(sorted(given & self.cluster)) or "none"
            return f"{len(wanted & self.text)} of them should be known from before; known: {old}"
        self.text |= wanted
        self.cluster |= given
        return ""


def _plain(text: str) -> str:
    """Return *text* without what only a terminal cares for."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(lines).strip("\n")


def _pattern(shown: str) -> str:
    """Return the expression for what may come where the text shows *shown*; each line ends."""
    lines = _plain(shown).split("\n")
    return "".join(r"(?:.*\n)*" if line == "..." else rf"{_line_pattern(line)}\n" for line in lines)


def _line_pattern(line: str) -> str:
    done, at = "", 0
    for match in _VARYING.finditer(line):
        kind = str(match.lastgroup)
        shape = _NODE if kind == "node" else SHAPES[kind]
        done += _literal(line[at : match.start()])
        done += f"({shape})" if kind in _KNOWN_AGAIN else f"(?:{shape})"
        at = match.end()
    return done + _literal(line[at:])


def _literal(text: str) -> str:
    return ".*".join(re.escape(part) for part in text.split("..."))


class Shell:
    """One bash for a lab, so that variables last."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._mark = f"--{os.urandom(8).hex()}--"
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Return the command's status and all that it wrote; raises NotAsSaid if it hangs."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        script = f"{{ {command}\n}} </dev/null\nprintf '\\n%s%d\\n' {self._mark} $?\n"
        self._bash.stdin.write(script.encode())
        self._bash.stdin.flush()
        output, ends = b"", time.monotonic() + 2 * PATIENCE
        while not (end := re.search(rf"\n{self._mark}(\d+)\n".encode(), output)):
            ready, _, _ = select.select([self._bash.stdout], [], [], ends - time.monotonic())
            more = os.read(self._bash.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise NotAsSaid(f"it does not end\n{output.decode(errors='replace')}")
            output += more
        return int(end[1]), output[: end.start()].decode(errors="replace")

    def end(self) -> None:
        """End the shell and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, 9)
        self._bash.communicate()


def replay(step: Step, shell: Shell, seen: Seen) -> None:
    """Run one command until it shows what the text says; raises NotAsSaid if it does not."""
    ends = time.monotonic() + PATIENCE
    while True:
        status, output = shell.run(step.command)
        objection = ""
        if bool(status) != bool(_FAILS.search(step.shown)):
            objection = f"its exit status is {status}"
        elif step.shown:
            objection = seen.objection(step.shown, output)
        if not objection:
            return
        if _CHANGES.search(step.command) or time.monotonic() > ends:
            raise NotAsSaid(f"{objection}\n--- the text shows\n{step.shown}\n--- it is\n{output}")
        time.sleep(PAUSE)


def replay_lab(lab: Path, environ: Mapping[str, str], *, is_podwire: bool) -> bool:
    """Replay one lab; return whether all was as it says."""
    text = lab.read_text(encoding="utf-8")
    wanted = [step for step in steps(text) if is_podwire or "podwire" not in step.section]
    after = [step for step in wanted if step.section.startswith("Clean up")]
    began, right = time.monotonic(), False
    try:
        right = _as_said(lab, [step for step in wanted if step not in after], environ)
    finally:
        # In another shell, for the first one may hang.
        cleaned = [_as_said(lab, [step], environ) for step in after]
    right = right and all(cleaned)
    took = time.monotonic() - began
    say(f"{'ok   ' if right else 'FAILS'} {took:5.1f} s  {lab.stem}")
    return right


def _as_said(lab: Path, wanted: Sequence[Step], environ: Mapping[str, str]) -> bool:
    """Replay *wanted* in a shell of its own up to the first that is not as it says."""
    shell = Shell(LABS if lab.parent == LABS else LABS.parents[1], environ)
    seen = Seen()
    try:
        for step in wanted:
            try:
                replay(step, shell, seen)
            except NotAsSaid as problem:
                say(f"{lab.name}:{step.line}: $ {step.command}\n{problem}\n")
                return False
    finally:
        shell.end()
    return True


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


def main(words: Sequence[str]) -> int:
    """Replay the labs named, or all; see the module."""
    labs = sorted(LABS.glob("[0-9][0-9]-*.md"))
    chosen = [Path(word).resolve() for word in words if word.endswith(".md")]
    if not chosen:
        chosen = [lab for lab in labs if not words or lab.name.startswith(tuple(words))]
    if not chosen or any(word.startswith("-") for word in words):
        say(f"{__doc__}\nlabs: {', '.join(lab.stem for lab in labs)}")
        return 0 if set(words) & {"-h", "--help"} else 2
    with tempfile.TemporaryDirectory() as folder:
        # The labs change the current namespace: of a copy.
        kubeconfig = Path(folder) / "kubeconfig"
        with kubeconfig.open("wb") as copy:
            view = ["kubectl", "config", "view", "--raw", "--minify", "--flatten"]
            if subprocess.run(view, stdout=copy, check=False).returncode != 0:
                return 2
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        is_podwire = "podwire.dev" in kubeconfig.read_text(encoding="utf-8")
        try:
            right = [replay_lab(lab, environ, is_podwire=is_podwire) for lab in chosen]
        except KeyboardInterrupt:
            return 130
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
