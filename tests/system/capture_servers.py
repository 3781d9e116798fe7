# pyright: basic, reportAttributeAccessIssue=false, reportArgumentType=false
"""The programs of capture_world.py: `dns`, `web` and `relay`, as small as they can be."""

import asyncio
import functools
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dnslib import QTYPE, RCODE, RR, A, DNSRecord


def dns(argument: str, mark: Path) -> None:
    records = {
        f"{name.split('/')[1]}.{name.split('/')[0]}.svc.cluster.local.": address
        for name, address in json.loads(argument).items()
    }
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 53))
    mark.touch()
    while True:
        data, peer = sock.recvfrom(4096)
        query = DNSRecord.parse(data)
        answer = query.reply()
        name = str(query.q.qname).lower()
        if name not in records:
            answer.header.rcode = RCODE.NXDOMAIN
        elif query.q.qtype == QTYPE.A:
            answer.add_answer(RR(name, QTYPE.A, rdata=A(records[name]), ttl=5))
        sock.sendto(answer.pack(), peer)


def web(argument: str, mark: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if argument == "hang":
                self.rfile.read()  # until the client gives up
                return
            if argument == "close":
                self.connection.close()
                return
            body = b"hello\n"
            self.send_response(int(argument))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("0.0.0.0", 80), Handler)
    mark.touch()
    server.serve_forever()


async def relay(argument: str, mark: Path) -> None:
    turns: dict[str, int] = {}

    def pick(frontend: str, backends: list[str]) -> tuple[str, int]:
        turns[frontend] = turns.get(frontend, -1) + 1
        host, _, port = backends[turns[frontend] % len(backends)].rpartition(":")
        return host, int(port)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.close()

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self, frontend: str, backends: list[str]) -> None:
            self.frontend, self.backends = frontend, backends
            self.flows: dict[tuple[str, int], asyncio.DatagramTransport] = {}

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.front = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            tasks.create_task(self.forward(data, addr))

        async def forward(self, data: bytes, peer: tuple[str, int]) -> None:
            outer = self

            class Back(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                    outer.front.sendto(data, peer)  # type: ignore[attr-defined]

            if peer not in self.flows:
                loop = asyncio.get_running_loop()
                to = pick(self.frontend, self.backends)
                transport, _ = await loop.create_datagram_endpoint(Back, remote_addr=to)
                self.flows[peer] = transport
            self.flows[peer].sendto(data)

    async with asyncio.TaskGroup() as tasks:
        for frontend, backends in json.loads(argument).items():
            address, protocol = frontend.split("/")
            host, _, port = address.rpartition(":")
            if protocol == "udp":
                make = functools.partial(Datagrams, frontend, backends)
                loop = asyncio.get_running_loop()
                await loop.create_datagram_endpoint(make, local_addr=(host, int(port)))
                continue

            async def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                frontend: str = frontend,
                backends: list[str] = backends,
            ) -> None:
                try:
                    back = await asyncio.open_connection(*pick(frontend, backends))
                except OSError:
                    writer.transport.abort()
                    return
                await asyncio.gather(pump(reader, back[1]), pump(back[0], writer))
                writer.close()
                back[1].close()

            await asyncio.start_server(accept, host, int(port))
        mark.touch()  # noqa: ASYNC240 - on a tmpfs
        await asyncio.Event().wait()


if __name__ == "__main__":
    program, argument, mark = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if program == "relay":
        asyncio.run(relay(argument, mark))
    else:
        {"dns": dns, "web": web}[program](argument, mark)
