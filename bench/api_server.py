"""An API server alone, for bench/api.py: no cluster behind it, objects stay as they are written.

    .venv/bin/python -P bench/api_server.py FOLDER

Writes FOLDER/kubeconfig, prints the port, and ends when its standard input does.
"""

import asyncio
import gc
import random
import socket
import ssl
import sys
from pathlib import Path

import uvloop
import yaml

from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.certificates import for_cluster
from podwire.kube.clock import SystemClock
from podwire.kube.credentials import ClusterCertificates
from podwire.testing.agent import FakeAgent


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    # As in a cluster (emulator/supervisor.py).
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    kept = for_cluster("bench", addresses=("127.0.0.1",))
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = int(listener.getsockname()[1])
    write_kubeconfig(folder / "kubeconfig", kept, port)
    uvloop.run(serve(listener, tls(kept, folder)))


async def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer on *listener*."""
    server = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random())
    server.fill(443)
    async with server.serve([(listener, context)]):
        print(listener.getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def tls(kept: ClusterCertificates, folder: Path) -> ssl.SSLContext:
    """Return the context of a server that asks for client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=kept.authority.decode())
    file = folder / "server.pem"
    file.write_bytes(kept.server.certificate + kept.server.key)
    context.load_cert_chain(file)
    return context


def write_kubeconfig(path: Path, kept: ClusterCertificates, port: int) -> None:
    """Write *path* for the administrator, with the certificates in files beside it."""
    files = {
        "ca.crt": kept.authority,
        "client.crt": kept.admin.certificate,
        "client.key": kept.admin.key,
    }
    for name, content in files.items():
        (path.parent / name).write_bytes(content)
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": "ca.crt"}
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "bench", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "bench",
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
