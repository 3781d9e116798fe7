"""LateAgent: the API server answers before there are kubelets."""

import asyncio
from typing import cast

from podwire.emulator.apiserver.agent import HostName, NodeAgent, PodPlace, Usages
from podwire.emulator.kubelet.late_agent import LateAgent


class Nodes:
    """Says what it was asked; only what the tests ask."""

    def __init__(self) -> None:
        self.asked = list[object]()

    def hosts(self) -> tuple[HostName, ...]:
        return (HostName("node-1", "node"),)

    async def usage(self) -> Usages:
        return Usages()

    async def connect(self, pod: PodPlace, port: int) -> None:
        self.asked.append((pod, port))

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> None:
        self.asked.append((node, address, port, tls))


def test_what_it_is_made_of_is_not_needed_before_it_is_asked() -> None:
    made = list[Nodes]()

    def make() -> NodeAgent:
        made.append(Nodes())
        return cast(NodeAgent, made[-1])

    agent: NodeAgent = LateAgent(make)
    assert not made
    assert agent.hosts() == (HostName("node-1", "node"),)
    assert len(made) == 1


def test_all_is_passed_on() -> None:
    nodes = Nodes()
    agent: NodeAgent = LateAgent(lambda: cast(NodeAgent, nodes))
    pod = PodPlace("default", "web", "node-1", "10.244.1.2")

    async def ask() -> None:
        assert await agent.usage() == Usages()
        await agent.connect(pod, 80)
        await agent.reach("node-1", "10.0.0.1", 443, tls=True)

    asyncio.run(ask())
    assert nodes.asked == [(pod, 80), ("node-1", "10.0.0.1", 443, True)]
