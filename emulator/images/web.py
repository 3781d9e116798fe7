"""The built-in web server: answers with the name and address of its pod, and drains at its end.

The stand-in for nginx and for the many images that say who they are. On SIGTERM it goes on
accepting for a moment, because the proxies of other nodes hear of the end a little later than the
pod, closes each connection after its answer, and ends when none is left. /metrics is for
Prometheus, with the names that podinfo and others use.
"""

import argparse
import asyncio
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence

from aiohttp import web

from podwire.emulator.images.serving import until_told

# Proxies stop within milliseconds; a busy machine may take longer. Seconds.
STILL_ACCEPTING = 0.3
LONGEST_DRAIN = 5.0


def main(argv: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; returns the exit status.

    Arguments that the image's real program has and this one has not are named and left alone.
    """
    parser = argparse.ArgumentParser(
        prog="web", description="the built-in web server", allow_abbrev=False
    )
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--text", default="", help="the whole answer, instead of who I am")
    # hashicorp/http-echo is called with -text=... and -listen=:PORT.
    parser.add_argument("-text", dest="text", help=argparse.SUPPRESS)
    parser.add_argument("-listen", dest="listen", default="", help=argparse.SUPPRESS)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        print(f"the built-in web server ignores: {' '.join(unknown)}", flush=True)
    port = int(options.listen.rpartition(":")[2]) if options.listen else options.port
    return until_told(lambda stop: serve(port, options.text, stop))


async def serve(port: int, text: str, stop: asyncio.Event) -> None:
    """Answer on *port* with *text*, or with who we are, until *stop* is set; then drain."""
    answered = Counter[int]()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        status = _status_wanted(request)
        answered[status] += 1
        if text:
            body = f"{text}\n"
        else:
            body = metrics(answered) if request.path == "/metrics" else who_am_i(request)
        response = web.Response(text=body, status=status)
        response.headers["Server"] = "podwire"
        if stop.is_set():
            response.force_close()
        print(f'{request.remote} "{request.method} {request.path_qs}" {status}', flush=True)
        return response

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", port, backlog=1024)
    await site.start()
    print(f"built-in web server on port {port}, pid {os.getpid()}", flush=True)
    await stop.wait()
    await asyncio.sleep(STILL_ACCEPTING)
    ends = asyncio.get_running_loop().time() + LONGEST_DRAIN
    # aiohttp tells nobody when a connection ends.
    while runner.server and runner.server.connections:
        if asyncio.get_running_loop().time() > ends:
            break
        await asyncio.sleep(0.02)
    await runner.cleanup()


def who_am_i(request: web.Request) -> str:
    """Return the answer's text: one `Name: value` line each, as whoami servers do."""
    transport = request.transport
    sockname = transport.get_extra_info("sockname") if transport else None
    peername = transport.get_extra_info("peername") if transport else None
    lines = [
        f"Hostname: {socket.gethostname()}",
        f"Address: {sockname[0] if sockname else '?'}",
        f"Client: {peername[0]}:{peername[1]}" if peername else "Client: ?",
        f"Request: {request.method} {request.path_qs}",
        f"Host: {request.headers.get('Host', '')}",
    ]
    return "\n".join(lines) + "\n"


def metrics(answered: Mapping[int, int]) -> str:
    """Return Prometheus' text format: answers by status, this one too, and who counted them."""
    lines = [
        "# HELP http_requests_total Requests that this pod has answered.",
        "# TYPE http_requests_total counter",
        *(
            f'http_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(answered.items())
        ),
        "# HELP web_info The pod that answers; always 1.",
        "# TYPE web_info gauge",
        f'web_info{{hostname="{socket.gethostname()}"}} 1',
    ]
    return "\n".join(lines) + "\n"


def _status_wanted(request: web.Request) -> int:
    """`/status/503` answers 503, as httpbin does: for tests of what clients make of it."""
    parts = request.path.split("/")
    if len(parts) == 3 and parts[1] == "status" and parts[2].isdigit():
        code = int(parts[2])
        return code if 200 <= code <= 599 else 400
    return 200
