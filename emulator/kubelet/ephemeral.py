"""Containers that are added to a running pod, to look at it (KEP-277): each runs once."""

import asyncio
from collections.abc import Callable

from podwire.emulator.kubelet.container import ContainerRun
from podwire.emulator.kubelet.files import PodFiles
from podwire.emulator.runtimes.runtime import PodSandbox
from podwire.kube.objects import EphemeralContainer, Pod


class EphemeralRuns:
    """Starts a pod's ephemeral containers as they appear; *make* makes one's run."""

    def __init__(self, make: Callable[[EphemeralContainer], ContainerRun]) -> None:
        self._make = make
        self._news = asyncio.Event()
        self.runs: list[ContainerRun] = []

    def update(self, pod: Pod) -> None:
        """Take note of the containers that *pod* has now; none is ever taken away."""
        known = {run.container.name for run in self.runs}
        for container in pod.spec.ephemeral_containers:
            if container.name not in known:
                self.runs.append(_made(self._make(container), pod))
                self._news.set()

    async def run(self, sandbox: PodSandbox, files: PodFiles) -> None:
        """Run what has not run yet in *sandbox*, and what is added, until cancelled."""
        begun: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for run in self.runs:
                    name = run.container.name
                    if run.record.state == "waiting" and name not in begun:
                        begun.add(name)
                        tasks.create_task(run.run(sandbox, files), name=f"container {name}")
                await self._news.wait()

    def end(self) -> None:
        """Take note that those that ran were killed with the pod's other containers."""
        for run in self.runs:
            run.lose_sandbox()


def _made(run: ContainerRun, pod: Pod) -> ContainerRun:
    """Return *run*, which is over if the pod's status says so: a kubelet may have started anew."""
    for status in pod.status.ephemeral_container_statuses:
        ended = status.state.terminated
        if status.name == run.record.name and ended is not None:
            record = run.record
            record.container_id, record.image_id = status.container_id, status.image_id
            record.started_at = ended.started_at or ""
            record.end(ended.exit_code, ended.finished_at or "", done=False, message=ended.message)
    return run
