"""The built-in client: one GET, TCP connect or UDP datagram; one line of JSON says how it went.

Exit status as curl's: 0 answered, 6 no such name, 7 refused or unreachable, 28 timed out, 52 closed
without an answer. Runs in a pod that has no curl, and for targets that curl does not speak.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

NO_NAME, REFUSED, TIMED_OUT, NO_ANSWER = 6, 7, 28, 52

# A relay accepts first and learns then that its endpoint refuses: so long it may take to say so.
_FIRST_WORD = 0.25
_DATAGRAM = b"podwire\n"
_DNS_PORT = 53


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Fetch argv's URL (http, https, tcp://HOST:PORT or udp://HOST:PORT)."""
    parser = argparse.ArgumentParser(prog="fetch", description=__doc__)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS")
    options = parser.parse_args(list(argv))
    begin = time.monotonic()
    said: dict[str, Any] = {"outcome": "answered", "status": 0, "local_port": 0, "error": ""}
    code = 0
    try:
        _client(options.url)(options.url, options.timeout, said)
    except socket.gaierror as error:
        code, said["outcome"], said["error"] = NO_NAME, "no such name", str(error.strerror)
    except TimeoutError:
        code, said["outcome"], said["error"] = TIMED_OUT, "timed out", "timed out"
    except ConnectionRefusedError as error:
        code, said["outcome"], said["error"] = REFUSED, "refused", str(error.strerror)
    except (ConnectionError, http.client.HTTPException) as error:
        code, said["outcome"], said["error"] = NO_ANSWER, "refused", str(error)
    except OSError as error:
        code, said["outcome"], said["error"] = REFUSED, "unreachable", str(error)
    said["ms"] = round((time.monotonic() - begin) * 1000, 3)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    return code


_Client = Callable[[str, float, dict[str, Any]], None]


def _client(url: str) -> _Client:
    scheme = urlsplit(url).scheme
    return {"tcp": _connect, "udp": _send}.get(scheme, _get)


def _get(url: str, timeout: float, said: dict[str, Any]) -> None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.connect()
        said["local_port"] = connection.sock.getsockname()[1]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "podwire", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as answer:
            said["status"] = answer.status
            answer.read()


def _connect(url: str, timeout: float, said: dict[str, Any]) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout) as sock:
        said["local_port"] = sock.getsockname()[1]
        sock.settimeout(_FIRST_WORD)
        try:
            first = sock.recv(1)
        except TimeoutError:
            return  # it is open and waits for us to speak
        if not first:
            raise ConnectionResetError("closed without a word")


def _send(url: str, timeout: float, said: dict[str, Any]) -> None:
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        said["local_port"] = sock.getsockname()[1]
        sock.send(_question(str(address[0])) if address[1] == _DNS_PORT else _DATAGRAM)
        sock.recv(65536)


def _question(address: str) -> bytes:
    """Return a DNS query for the name of *address*: a DNS server says nothing to anything else."""
    labels = [*reversed(address.split(".")), "in-addr", "arpa"] if "." in address else []
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    header = struct.pack("!6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0)
    return header + name + struct.pack("!BHH", 0, 12, 1)  # PTR, IN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
