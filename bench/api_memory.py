"""The peer of bench/api.py: answers each request as the API server did when it was first asked.

    .venv/bin/python -P bench/api_memory.py FOLDER PORT

FOLDER has the certificates, PORT is the API server's. Prints its own port. From the second time on
an answer costs no more than to send its bytes.
"""

import asyncio
import http.client
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop


def main(argv: Sequence[str]) -> None:
    """Serve until killed."""
    folder, port = argv
    uvloop.run(serve(Path(folder), int(port)))


async def serve(folder: Path, port: int) -> None:
    """Serve; say where."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(folder / "server.pem")
    theirs = ssl.create_default_context(cafile=folder / "ca.crt")
    theirs.load_cert_chain(folder / "client.crt", folder / "client.key")
    known = dict[bytes, bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            lines = head.split(b"\r\n")
            accept = next((x for x in lines if x.lower().startswith(b"accept:")), b"")
            key = lines[0] + accept
            if key not in known:
                server = http.client.HTTPSConnection("127.0.0.1", port, context=theirs)
                known[key] = fetched(server, lines[0].split()[1].decode(), accept)
            writer.write(known[key])
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=ours)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


def fetched(server: http.client.HTTPSConnection, path: str, accept: bytes) -> bytes:
    """Return an answer of the server, head and body."""
    server.request("GET", path, headers={"Accept": accept.partition(b":")[2].decode().strip()})
    answer = server.getresponse()
    body = answer.read()
    kept = [
        f"{name}: {value}"
        for name, value in answer.getheaders()
        if name.lower() not in ("content-length", "transfer-encoding")
    ]
    lines = [f"HTTP/1.1 {answer.status} OK", *kept, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


if __name__ == "__main__":
    main(sys.argv[1:])
