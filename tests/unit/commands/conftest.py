"""A real API server with a certificate of its own, whose pods are processes of this machine."""

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from podwire.emulator import kubeconfig
from podwire.emulator.apiserver.agent import Instruction
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.certificates import for_cluster
from podwire.kube.clock import SystemClock
from podwire.kube.config import Access, load
from podwire.kube.credentials import ClusterCertificates
from podwire.kube.plain import Connection
from podwire.testing.agent import FakeAgent

CERTIFICATES = for_cluster("test")


class Agent(FakeAgent):
    """A FakeAgent whose captures come over a socket, as the capture agent's do."""

    async def capture(
        self, points: Sequence[str], *, snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.captured.append((tuple(points), snaplen, tuple(filter_)))
        ours, theirs = socket.socketpair()
        theirs.sendall(self.packets)

        def finish() -> None:
            asyncio.get_running_loop().remove_reader(theirs)
            with theirs:
                theirs.sendall(self.statistics)

        asyncio.get_running_loop().add_reader(theirs, finish)  # readable: the writer was closed
        return await asyncio.open_connection(sock=ours)


@dataclass
class Api:
    """A served API and how to reach it."""

    server: str
    certificates: ClusterCertificates
    agent: FakeAgent
    kubeconfig: Path
    access: Access

    @property
    def options(self) -> list[str]:
        """Return the options that lead the command line here."""
        return ["--kubeconfig", str(self.kubeconfig), "--context", "podwire-test"]

    def connection(self) -> Connection:
        """Return a connection as kubernetes-admin."""
        return Connection(self.access)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Serve an API from a thread until the test ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    agent = Agent()
    started, ended = threading.Event(), threading.Event()
    loops = list[asyncio.AbstractEventLoop]()
    stop = asyncio.Event()

    async def serve() -> None:
        server = ApiServer(Store(), agent, SystemClock(), random.Random(1))
        server.fill(6443)
        async with server.serve([(listener, _tls(tmp_path))]):
            loops.append(asyncio.get_running_loop())
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    assert loops, "the API server did not start"
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    path = tmp_path / "kubeconfig"
    document = kubeconfig.document(
        "test",
        server=address,
        authority=CERTIFICATES.authority,
        certificate=CERTIFICATES.admin.certificate,
        key=CERTIFICATES.admin.key,
    )
    path.write_text(yaml.safe_dump(document))
    try:
        yield Api(address, CERTIFICATES, agent, path, load([path], "podwire-test"))
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(20)


def _tls(folder: Path) -> ssl.SSLContext:
    pem = folder / "server.pem"
    pem.write_bytes(CERTIFICATES.server.certificate + CERTIFICATES.server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=CERTIFICATES.authority.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
