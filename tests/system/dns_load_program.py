"""Runs in a pod: asks the cluster's DNS in five ways until a file appears; says what failed, as JSON.

Self-contained: its text is given to the pod's Python, where podwire is not importable.
    python dns_load_program.py SERVER NAME FOLDER

No way tries twice but getent, whose second try would take five seconds: what is lost is seen.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PAUSE = 0.005
PATIENCE = 2.0


class Lost(Exception):
    """A question that came to nothing."""


def packet(name: str) -> bytes:
    labels = b"".join(struct.pack("B", len(one)) + one.encode() for one in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def check(reply: bytes) -> None:
    if len(reply) < 12 or reply[3] & 0xF or reply[7] != 1:
        raise Lost(f"reply {reply[:12].hex()}")


def by_udp(server: str, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        # Connected: what the kernel hears of (ICMP) is an error here.
        sock.connect((server, 53))
        sock.send(packet(name))
        check(sock.recv(2048))


held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def by_one_port(server: str, name: str) -> None:
    """Ask from one port for ever: for kube-proxy that is one flow, which must move to a new pod."""
    held.settimeout(PATIENCE)
    held.connect((server, 53))
    held.send(packet(name))
    check(held.recv(2048))


def by_tcp(server: str, name: str) -> None:
    with socket.create_connection((server, 53), PATIENCE) as sock:
        question = packet(name)
        sock.sendall(struct.pack("!H", len(question)) + question)
        check(sock.recv(2048)[2:])


def by_dig(server: str, name: str) -> None:
    said = run("dig", f"@{server}", "+tries=1", "+time=2", "+short", name)
    if said.count("\n") != 1:
        raise Lost(said or "no answer")


def by_getent(server: str, name: str) -> None:
    del server
    began = time.monotonic()
    run("getent", "ahostsv4", name)
    took = time.monotonic() - began
    if took > 4:
        raise Lost(f"only the second try was answered, after {took:.1f} s")


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Lost(f"status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


WAYS: dict[str, Callable[[str, str], None]] = {
    "udp": by_udp,
    "port": by_one_port,
    "tcp": by_tcp,
    "dig": by_dig,
    "getent": by_getent,
}


def ask(way: str, server: str, name: str, folder: Path, report: dict[str, object]) -> None:
    asked, failures = 0, list[str]()
    while not (folder / "stop").exists():
        try:
            WAYS[way](server, name)
        except (OSError, Lost) as error:
            failures.append(f"{time.time():.3f} {way}: {type(error).__name__}: {error}")
        asked += 1
        (folder / way).touch()
        time.sleep(PAUSE)
    report[way] = {"asked": asked, "failures": failures}


def main() -> None:
    server, name, place = sys.argv[1:]
    folder = Path(place)
    folder.mkdir()
    report: dict[str, object] = {}
    threads = [
        threading.Thread(target=ask, args=(way, server, name, folder, report)) for way in WAYS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(report))


main()
