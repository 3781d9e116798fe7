"""The built-in DNS client: sends queries as it is told, and reports what came and when.

It knows no name and decides little: its orders are made, and its reports are read, by
podwire.testing.asking. It runs in pods whose image has Python, so it needs nothing else.

An order is a JSON object, as argv[0] or as the first line of standard input:
  rounds    lists of queries in hex; those of one round go out at once, as getaddrinfo's do
  servers   addresses in the order in which they are tried; empty: those of resolv.conf
  port, timeout (seconds for each try), attempts (times through the servers)
  tcp       true: no UDP
  persist   true: a failure (SERVFAIL...) is asked about again in each attempt, as glibc does
  alone     after a round that got no sense the one of this number comes next, if it is a later one
            (-1: none does), and after one that reached nobody none: as glibc has it
The first round with an answer is the last. The report is one line of JSON: the text of resolv.conf,
the milliseconds of all rounds, the numbers of those that were asked, and for each query its reply
(hex), the server that gave it, how, the milliseconds since it was first sent, how often that was,
the error if there was no reply, and the bytes of the cut-off datagram after which TCP was used.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESOLV_CONF = Path("/etc/resolv.conf")

_FAILURES = {2, 4, 5}  # SERVFAIL, NOTIMP, REFUSED: after those glibc turns to the next server
_GOES_ON = {0, 2, 3}  # no data, SERVFAIL, NXDOMAIN: after those glibc tries the next name
_SILENCE = "no reply"

Json = dict[str, Any]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Carry out one order; the status is 0 whatever the servers say."""
    text = argv[0] if argv else _first_line(0)
    order: Json = json.loads(text)
    resolv = ""
    with contextlib.suppress(OSError):
        resolv = RESOLV_CONF.read_text(errors="replace")
    order["servers"] = order.get("servers") or _named(resolv)
    began = time.monotonic()
    wanted: list[list[str]] = order.get("rounds") or []
    rounds: list[list[Json]] = []
    numbers: list[int] = []
    number = 0
    while 0 <= number < len(wanted):
        rounds.append(_asked(order, [bytes.fromhex(query) for query in wanted[number]]))
        numbers.append(number)
        number = _next(number, rounds[-1], int(order.get("alone", -1)))
    report = {"resolv": resolv, "ms": _ms(began), "numbers": numbers, "rounds": rounds}
    sys.stdout.write(json.dumps(report, default=bytes.hex) + "\n")
    sys.stdout.flush()
    return 0


def _first_line(handle: int) -> str:
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(handle, 65536)
        if not piece:
            break
        data += piece
    return data.decode()


def _named(resolv: str) -> list[str]:
    """Return the servers that a resolv.conf names: three at most, as glibc has it."""
    lines = [line.split() for line in resolv.splitlines()]
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return found[:3] or ["127.0.0.1"]


def _asked(order: Json, queries: list[bytes]) -> list[Json]:
    """Ask the servers in turn until each query has a reply that is no failure."""
    results: list[Json] = [
        {"query": query, "reply": None, "server": "", "transport": "", "ms": 0.0, "tries": 0,
         "error": "", "cut": 0}
        for query in queries
    ]  # fmt: skip
    by = _by_tcp if order.get("tcp") else _by_udp
    began = time.monotonic()
    for _ in range(int(order.get("attempts") or 1)):
        for server in order["servers"]:
            waiting = [item for item in results if item["reply"] is None or _failed(item)]
            if waiting:
                _try(by, order, server, waiting, began)
        silent = any(item["reply"] is None for item in results)
        if not silent and not (order.get("persist") and any(_failed(item) for item in results)):
            break
    return results


def _next(number: int, results: list[Json], alone: int) -> int:
    """Return the number of the round after this one, -1 for none (glibc's res_query.c)."""
    if any(_has_answers(item["reply"]) for item in results):
        return -1
    if all(item["reply"] is None and item["error"] != _SILENCE for item in results):
        return -1  # nobody there: no name will do better
    first = results[0]["reply"]
    if first is not None and first[3] & 15 in _GOES_ON:
        return number + 1
    return alone if alone > number else -1


_Exchange = Callable[[Json, str, list[Json], float], None]


def _try(by: _Exchange, order: Json, server: str, waiting: list[Json], began: float) -> None:
    why = _SILENCE
    for item in waiting:
        item["tries"] += 1
    try:
        by(order, server, waiting, began)
    except TimeoutError:
        pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    for item in waiting:
        # A datagram that was cut off is better than nothing, but it is not the answer.
        if item["reply"] is None or (item["cut"] and item["transport"] == "UDP"):
            item["server"], item["error"] = server, why


def _by_udp(order: Json, server: str, waiting: list[Json], began: float) -> None:
    ends = time.monotonic() + float(order["timeout"])
    open_ = list(waiting)
    with socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        sock.connect((server, int(order.get("port") or 53)))
        for item in open_:
            sock.send(item["query"])
        while open_:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([sock], [], [], left)[0]:
                break
            _take(open_, sock.recv(65535), began, server, "UDP")
    cut = [item for item in waiting if item["reply"] and item["reply"][2] & 0x02]
    if cut:
        for item in cut:
            item["cut"] = len(item["reply"])
        _by_tcp(order, server, cut, began)


def _by_tcp(order: Json, server: str, waiting: list[Json], began: float) -> None:
    limit = float(order["timeout"])
    ends = time.monotonic() + limit
    open_ = list(waiting)
    address = (server, int(order.get("port") or 53))
    with socket.create_connection(address, timeout=limit) as sock:
        for item in open_:
            sock.sendall(len(item["query"]).to_bytes(2, "big") + item["query"])
        while open_:
            sock.settimeout(max(0.001, ends - time.monotonic()))
            size = int.from_bytes(_exactly(sock, 2), "big")
            _take(open_, _exactly(sock, size), began, server, "TCP")


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        data += piece
    return data


def _take(open_: list[Json], reply: bytes, began: float, server: str, transport: str) -> None:
    """Note a reply with the query that it belongs to; what belongs to none is dropped.

    From *began* on its time counts: what was tried before, another way or in vain, is part of it.
    """
    for item in open_:
        if len(reply) >= 12 and reply[:2] == item["query"][:2] and reply[2] & 0x80:
            item.update(reply=reply, server=server, transport=transport, ms=_ms(began), error="")
            open_.remove(item)
            return


def _family(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def _failed(item: Json) -> bool:
    return item["reply"][3] & 15 in _FAILURES


def _has_answers(reply: bytes | None) -> bool:
    return reply is not None and reply[3] & 15 == 0 and reply[6:8] != b"\0\0"


def _ms(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
