"""Real kubectl, of every version that the machine has, as somebody with a home of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from podwire.testing.cluster import Cluster

OLDEST = (1, 29)
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def versions() -> list[str]:
    """Return the programs to test with: `kubectl`, and the oldest and newest that lie beside it."""
    first = shutil.which("kubectl", path=SEARCH)
    if first is None:
        return []
    version = subprocess.run(
        [first, "version", "--client"], capture_output=True, text=True, check=False
    )
    beside = {
        tuple(map(int, path.name.split(".")[1:])): path
        for path in Path(first).resolve().parent.glob("kubectl.1.*")
    }
    others = [
        str(path)
        for (major, minor), path in sorted(beside.items())
        if (major, minor) >= OLDEST and f"v{major}.{minor}." not in version.stdout
    ]
    return [first, *dict.fromkeys((*others[:1], *others[-1:]))]


class Kubectl:
    """Runs kubectl, or shell commands with kubectl in them, in a folder and a namespace."""

    def __init__(self, program: str, cluster: Cluster, folder: Path, cache: Path) -> None:
        self.namespace = cluster.namespace
        self.folder = folder
        config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
        for context in config["contexts"]:
            context["context"]["namespace"] = self.namespace
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        programs = folder / "bin"
        programs.mkdir()
        script = programs / "kubectl"
        script.write_text(f'#!/bin/sh\nexec {program} --cache-dir {cache} "$@"\n')
        script.chmod(0o755)
        self.environ = {
            **os.environ,
            "PATH": f"{programs}:{SEARCH}",
            "HOME": str(cache),  # some builds keep notes there
            "KUBECONFIG": str(kubeconfig),
            "NS": self.namespace,
        }

    def run(self, *words: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run kubectl."""
        return self._run(["kubectl", *words], given)

    def shell(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a shell script in which `kubectl` is this one."""
        return self._run(["bash", "-c", script], None)

    def said(self, *words: str, given: str | None = None) -> str:
        """Return what kubectl prints; it must succeed."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def started(self, *words: str) -> "subprocess.Popen[str]":
        """Start kubectl, to be read line by line."""
        return subprocess.Popen(
            ["kubectl", *words],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
        )

    def started_shell(self, script: str) -> "subprocess.Popen[bytes]":
        """Start a shell script beside what comes next; what it says is lost."""
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _run(self, command: list[str], given: str | None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=75,
            check=False,
        )


# What differs from run to run -> what stands for it; in this order.
_VARIES = [
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<UID>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?\+0000)?( UTC|Z)?", "<TIME>"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", "<TIME>"),
    (r"\b(myapp|web|pending)-[a-z0-9]{6,10}-[a-z0-9]{5}\b", r"\1-<HASH>-<SFX>"),
    (r"\b(myapp|web|pending)-[a-z0-9]{6,10}\b", r"\1-<HASH>"),
    (r"gen-[a-z0-9]{5}", "gen-<SFX>"),
    (r"\b(myapp-svc|myapp-np|agent)-[a-z0-9]{5}\b", r"\1-<SFX>"),
    (r"\b10\.244\.\d+\.\d+", "<PODIP>"),
    (r"\b10\.(9[6-9]|10\d|11[01])\.\d+\.\d+", "<CLUSTERIP>"),
    (r"(pod-template-hash(=|: ))\"?[a-z0-9]+\"?", r"\1<HASH>"),
    (r"(\"?resourceVersion\"?: )\"\d+\"", r'\1"<RV>"'),
    (r"(?<![\w.-])(\d+[smhdy]){1,2}(?![\w.%-])", "<AGE>"),
    (r"/tmp/(LIVE|MERGED)-\d+", r"/tmp/\1-N"),
    (r"kubectl-edit-\d+", "kubectl-edit-N"),
    (r"127\.0\.0\.1:(?!28\d\d\d)\d+", "<SERVER>"),  # 28xxx: ports that cases chose themselves
    (r"\bnode-\d\b", "<NODE>"),
    (r"(?m)^[WIE]\d{4} [\d:.]+ +\d+ ", "<KLOG> "),
    (r"(?m)^Service Account:.*\n", ""),
    (r" {2,}", "  "),
    (r"(?m) +$", ""),
]


def normalised(text: str, namespace: str) -> str:
    """Return *text* with what differs from run to run replaced, and columns two spaces apart."""
    text = text.replace(namespace, "$NS").replace("\r", "")
    for pattern, replacement in _VARIES:
        text = re.sub(pattern, replacement, text)
    return text.rstrip()


def matches(how: str, wanted: str, text: str) -> bool:
    """Return whether *text* is as *wanted* says: exact, contains, regex or ordered-lines."""
    if how == "exact":
        return text == wanted
    if not wanted:
        return True
    if how == "contains":
        return _unindented(wanted) in _unindented(text)
    if how == "ordered-lines":
        lines = iter(text.split("\n"))
        return all(any(part in line for line in lines) for part in wanted.split("\n"))
    assert how == "regex", how
    of_lines = wanted.startswith(("^[", "^<"))
    return re.search(wanted, text, re.MULTILINE if of_lines else 0) is not None


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n"))
