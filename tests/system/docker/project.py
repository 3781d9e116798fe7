"""A compose project of this repository's docker-compose.yml, as its user sees it."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

from tests.system.docker.engine import Engine
from tests.system.docker.image import ROOT

Json = dict[str, Any]
T = TypeVar("T")

# Who owns the project's folder on the host.
SOMEBODY = 12345
# Their health is looked at every 15 s only.
SELDOM = ("client", "front")

# Generous: a busy machine. A test that passes never waits so long.
LIMIT = 20.0


class Project:
    """One cluster of containers; *number* keeps its subnets and ports apart from others'."""

    def __init__(
        self, engine: Engine, name: str, number: int, image: str, out: Path, **changes: str
    ) -> None:
        self.engine = engine
        self.name = name
        self.number = number
        self.out = out
        self._size = 0
        self.profiles: tuple[str, ...] = ()
        self.folder = ROOT
        self.files: tuple[Path, ...] = (ROOT / "docker-compose.yml",)
        self.nodes = f"10.203.{number}"
        self.pods = f"10.{204 + number}"
        self.node_port = 31080 + number
        self.settings: Mapping[str, str] = {
            "COMPOSE_PROJECT_NAME": name,
            "PODWIRE_IMAGE": image,
            "PODWIRE_CLUSTER": name,
            "PODWIRE_NODES": self.nodes,
            "PODWIRE_PODS": self.pods,
            "PODWIRE_API_PORT": str(7443 + number),
            "PODWIRE_NODE_PORT": str(self.node_port),
            "PODWIRE_OUT": str(out),
            "DOCKER_SOCK": engine.socket,
            **changes,
        }

    def compose(self, *words: str, limit: float = 120.0) -> "CompletedProcess[str]":
        """Run `docker compose WORDS` on this project; returns how it ended."""
        return self.engine.run(*self.command(*words), limit=limit)

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the command `docker compose WORDS` on this project, for the engine's environ."""
        # `env`, not the engine's environ: the settings are what a user's .env file says.
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        files = [word for file in self.files for word in ("-f", str(file))]
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        return (
            "env", *settings, "docker", "compose", "--project-directory", str(self.folder), *files,
            *profiles, *words,
        )  # fmt: skip

    def must(self, *words: str, limit: float = 120.0) -> str:
        """Run `docker compose WORDS`, which must succeed; returns what it prints."""
        done = self.compose(*words, limit=limit)
        if done.returncode:
            raise AssertionError(
                f"docker compose {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                f"{self.engine.run('docker', 'ps', '-a').stdout}\n{self.logs()}"
            )
        return done.stdout

    def up(self, *words: str) -> None:
        """Bring the cluster to what the file says, and wait until it serves."""
        self.must("up", "--wait", "--wait-timeout", "60", "--quiet-pull", *words)
        self._size = len(self.statuses())

    def own(self) -> None:
        """Give the folder of the project to a user that is neither root nor we, where that can be."""
        if os.geteuid() == 0 and self.engine.is_own:
            os.chown(self.out, SOMEBODY, SOMEBODY)

    def mend(self) -> None:
        """Bring the cluster back to what the file says, whatever a test has done to it."""
        # Not by `compose unpause`, which fails on those that are not paused.
        label = f"label=com.docker.compose.project={self.name}"
        paused = self.engine.docker("ps", "-q", "--filter", label, "--filter", "status=paused")
        if paused:
            self.engine.docker("unpause", *paused.split())
        found = self.statuses()
        if len(found) != self._size or not all(status.startswith("Up") for _, status in found):
            self.must("up", "-d")
        self.settle()

    def settle(self) -> None:
        """Wait until all is healthy whose health is looked at often.

        Not by `up --wait`, which gives up on what is unhealthy until its next check.
        """

        def is_fine(service: str, status: str) -> bool:
            said = status.endswith(")") and service not in SELDOM
            return status.startswith("Up") and (not said or status.endswith("(healthy)"))

        self.until(
            self.statuses, lambda found: all(is_fine(*one) for one in found), "all is healthy"
        )

    def statuses(self) -> list[tuple[str, str]]:
        """Return service and status of each container, as `docker ps` shows it."""
        label = f"label=com.docker.compose.project={self.name}"
        form = '{{.Label "com.docker.compose.service"}}={{.Status}}'
        shown = self.engine.docker("ps", "--all", "--filter", label, "--format", form)
        return [(one.partition("=")[0], one.partition("=")[2]) for one in shown.splitlines()]

    def down(self, *words: str) -> None:
        """End the cluster; its volumes as well, unless other *words* are said."""
        self.must("--profile", "*", "down", "--timeout", "5", *(words or ("--volumes",)))

    def logs(self) -> str:
        """Return the last lines of the cluster's own containers."""
        own = ("api", "node-a", "node-b", "coredns")
        done = self.compose("logs", "--no-color", "--tail", "40", *own)
        return done.stdout + done.stderr

    def exec(self, service: str, *argv: str, index: int = 1) -> str:
        """Run a command in a container, which must succeed; returns what it prints."""
        return self.must("exec", "-T", "--index", str(index), service, *argv)

    def curl(self, url: str, *, service: str = "client", tries: int = 1) -> list[str]:
        """Return what curl in a pod got, per try; a failed connection ends the test."""
        script = f"for i in $(seq {tries}); do curl -sS --fail --max-time 5 {url} || exit 1; echo =; done"
        return self.exec(service, "sh", "-c", script).split("=\n")[:-1]

    def container(self, service: str, index: int = 1) -> str:
        """Return a container's name."""
        return f"{self.name}-{service}-{index}"

    def inspect(self, name: str) -> Json:
        """Return what the engine says of a container."""
        found: list[Json] = json.loads(self.engine.docker("inspect", name))
        return found[0]

    def address(self, service: str, index: int = 1) -> str:
        """Return a pod's address."""
        networks: Json = self.inspect(self.container(service, index))["NetworkSettings"]["Networks"]
        return next(str(one["IPAddress"]) for one in networks.values())

    def containers(self) -> list[Json]:
        """Return what the engine says of every running container of the project."""
        names = self.must("--profile", "*", "ps", "--quiet").split()
        found: list[Json] = json.loads(self.engine.docker("inspect", *names))
        return found

    def kubectl(self, *words: str, limit: float = 60.0) -> "CompletedProcess[str]":
        """Run kubectl on the engine's host with the kubeconfig that the cluster wrote."""
        return self.engine.on_host(
            "kubectl", "--kubeconfig", str(self.out / "kubeconfig"), *words, limit=limit
        )

    def kubectl_must(self, *words: str) -> str:
        """Run kubectl, which must succeed; returns what it prints."""
        done = self.kubectl(*words)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def get(self, *words: str) -> Json:
        """Return an object or a list, as the API has it."""
        found: Json = json.loads(self.kubectl_must("get", *words, "-o", "json"))
        return found

    def cluster_ip(self, service: str) -> str:
        """Return a Service's ClusterIP."""
        return str(self.get("service", service)["spec"]["clusterIP"])

    def ready_addresses(self, service: str, namespace: str = "default") -> set[str]:
        """Return the ready addresses of a Service's EndpointSlices."""
        label = f"kubernetes.io/service-name={service}"
        slices: list[Json] = self.get("endpointslices", "-n", namespace, "-l", label)["items"]
        found: set[str] = set()
        for one in slices:
            endpoints: list[Json] = one.get("endpoints") or []
            found |= {str(it["addresses"][0]) for it in endpoints if it["conditions"].get("ready")}
        return found

    def until(self, look: Callable[[], T], true: Callable[[T], object], what: str) -> T:
        """Return what *look* gives as soon as it is *true*."""
        deadline = time.monotonic() + LIMIT
        while True:
            found = look()
            if true(found):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {LIMIT:g} s: {what}; it is {found}\n{self.logs()}"
                )
            # Each look is a process or two; two cores have other things to do.
            time.sleep(0.15)

    def endpoints_become(self, service: str, wanted: int, namespace: str = "default") -> set[str]:
        """Return the ready addresses of a Service when there are as many as wanted."""
        return self.until(
            lambda: self.ready_addresses(service, namespace),
            lambda found: len(found) == wanted,
            f"{service} has {wanted} ready endpoints",
        )
