"""A machine to throw away, for tests of the CNI plugin: namespaces of its own, made by `unshare`.

Without root and without touching anything; gone with the process that holds it. In it the plugin is
called as a container runtime calls it: a process, its environment, its standard input.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_PROGRAMS = ("unshare", "nsenter", "ip", "nft", "busybox")


def lacking() -> str:
    """Return what this machine lacks for a Machine, as a sentence; empty if nothing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [program for program in _PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        return f"this machine lacks {', '.join(missing)}"
    probe = subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"no user namespaces: {probe.stderr.decode().strip()}"


class Answer(NamedTuple):
    """What one call of the plugin gave."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.stdout)

    @property
    def code(self) -> int:
        """The code of the error."""
        return int(self.document["code"])

    @property
    def address(self) -> str:
        """The first address of the result."""
        return str(self.document["ips"][0]["address"])


class Machine:
    """A user, network and mount namespace of its own, in which the plugin is run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data_dir = directory / "addresses"
        self.plugins = directory / "plugins"
        self.plugins.mkdir()
        script = self.plugins / "podwire"
        script.write_text(
            f"#!{sys.executable} -I\nimport sys\n"
            "from podwire.cni.__main__ import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
        # Also as root: that way nothing of the machine can be touched by mistake.
        self._holder = subprocess.Popen(
            ["unshare", "-Urnm", "--kill-child", "--fork", "sh", "-c", "echo $PPID; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        line = self._holder.stdout.readline()
        if not line:
            raise OSError("unshare cannot make a user namespace here")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self._pid = int(children.split()[0])
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.run("mkdir", "/run/netns")
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        """End the machine and all that is in it."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(10)

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs *command* inside."""
        enter = ["nsenter", "-t", str(self._pid), "-U", "--preserve-credentials", "-n", "-m", "--"]
        return [*enter, *command]

    def run(self, *command: str, stdin: str = "") -> str:
        """Run *command* inside, which must succeed, and return what it printed."""
        done = subprocess.run(
            self.inside(*command), input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def succeeds(self, *command: str) -> bool:
        """Return whether *command* succeeds inside."""
        done = subprocess.run(self.inside(*command), capture_output=True, check=False)
        return done.returncode == 0

    def ip(self, *arguments: str) -> Any:
        """Return what `ip -j` says inside."""
        return json.loads(self.run("ip", "-j", *arguments) or "[]")

    def pod(self, name: str) -> str:
        """Make an empty network namespace and return its path."""
        path = f"/run/netns/{name}"
        self.run("sh", "-c", f"touch {path} && unshare --net={path} true")
        return path

    def in_pod(self, path: str, *command: str) -> str:
        """Run *command* in the namespace at *path*."""
        return self.run("nsenter", f"--net={path}", *command)

    def config(self, version: str = "1.0.0", **changes: Any) -> dict[str, Any]:
        """Return a usual configuration of the plugin, with *changes*."""
        config: dict[str, Any] = {
            "cniVersion": version,
            "name": "net",
            "type": "podwire",
            "bridge": "br0",
            "isDefaultGateway": True,
            "ipam": {
                "type": "host-local",
                "subnet": "10.50.0.0/24",
                "dataDir": str(self.data_dir),
            },
        }
        return config | changes

    def ipam(self, **members: Any) -> dict[str, Any]:
        """Return an `ipam` section of this machine."""
        return {"type": "host-local", "dataDir": str(self.data_dir)} | members

    def call(
        self,
        command: str,
        config: Mapping[str, Any] | bytes,
        pod: str = "",
        *,
        cid: str = "c1",
        ifname: str = "eth0",
        environ: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call the plugin; *environ* are parameters, *inherited* the runtime's own environment."""
        stdin = config if isinstance(config, bytes) else json.dumps(config).encode()
        parameters = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": cid,
            "CNI_NETNS": pod,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": "",
            "CNI_PATH": str(self.plugins),
        } | dict(environ or {})
        done = subprocess.run(
            self.inside(str(self.plugins / "podwire")),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
            env={**(os.environ if inherited is None else inherited), **parameters},
        )
        answer = Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
        self._require_sound(command, answer)
        return answer

    def _require_sound(self, command: str, answer: Answer) -> None:
        """P13: one document or nothing on stdout; a failure exactly if it is an error."""
        if answer.status == 0 and command not in ("ADD", "VERSION"):
            assert answer.stdout == "", answer
            return
        document = answer.document
        assert isinstance(document, dict), answer
        assert (answer.status != 0) == ("code" in document), answer
        if answer.status != 0:
            assert isinstance(document["code"], int), answer
            assert document["code"] >= 1, answer
            assert document["msg"], answer
            assert document["cniVersion"] in VERSIONS, answer

    def add(self, config: Mapping[str, Any], pod: str, **how: Any) -> Answer:
        """Call ADD, which must succeed."""
        answer = self.call("ADD", config, pod, **how)
        assert answer.status == 0, answer
        return answer

    def delete(self, config: Mapping[str, Any], pod: str = "", **how: Any) -> None:
        """Call DEL, which must succeed."""
        answer = self.call("DEL", config, pod, **how)
        assert answer.status == 0, answer

    def reserved(self, network: str = "net") -> list[str]:
        """Return the addresses in use."""
        directory = self.data_dir / network
        if not directory.is_dir():
            return []
        return sorted(p.name for p in directory.iterdir() if re.match(r"[0-9a-f]+[.:]\d", p.name))

    def state(self) -> str:
        """Return all that a call may have changed, as text to compare."""
        rules = self.run("nft", "list", "ruleset")
        links = self.ip("link")
        for link in links:
            link.pop("operstate", None)
            link.pop("flags", None)  # A bridge without ports loses its carrier.
        addresses = self.ip("addr")
        for each in [one for link in addresses for one in link["addr_info"]]:
            each.pop("tentative", None)  # A bridge's own IPv6 address is, for its first second.
        return json.dumps([links, addresses, self.ip("route"), rules, self.reserved()], indent=1)
