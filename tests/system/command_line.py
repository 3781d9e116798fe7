"""The command `podwire` run as a user runs it, with a home of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PODWIRE = (sys.executable, "-P", "-m", "podwire")


class User:
    """Somebody with an empty home, a kubeconfig there, and a name for a cluster."""

    def __init__(self, home: Path, cluster: str) -> None:
        self.home = home
        self.cluster = cluster
        self.kubeconfig = home / ".kube" / "config"
        self.temporary = home / "tmp"
        self.temporary.mkdir(parents=True)
        self.environ: Mapping[str, str] = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PODWIRE_")},
            "HOME": str(home),
            "TMPDIR": str(self.temporary),
            "KUBECONFIG": str(self.kubeconfig),
        }

    def podwire(
        self, *words: str, wrapper: tuple[str, ...] = (), limit: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a verb on this user's cluster, and return how it ended."""
        return subprocess.run(
            [*wrapper, *PODWIRE, words[0], "--name", self.cluster, *words[1:]],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def up(self, *words: str) -> None:
        """Start the cluster, which must succeed."""
        done = self.podwire("up", *words)
        assert done.returncode == 0, done.stderr

    def starting(self, *words: str) -> "subprocess.Popen[str]":
        """Begin to start the cluster, in a session of its own as a terminal's job has."""
        return subprocess.Popen(
            [*PODWIRE, "up", "--name", self.cluster, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background of a shell ignores SIGINT, and so do we.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def starting_exec(self, *words: str) -> "subprocess.Popen[str]":
        """Begin a command at a place (the first word); nobody reads what it prints."""
        place, *command = words
        return subprocess.Popen(
            [*PODWIRE, "exec", "--name", self.cluster, place, "--", *command],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def contexts(self) -> str:
        """Return the kubeconfig's text."""
        return self.kubeconfig.read_text(encoding="utf-8") if self.kubeconfig.exists() else ""

    def files(self) -> set[str]:
        """Return every file in this user's home."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()}
