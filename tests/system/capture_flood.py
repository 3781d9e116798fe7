"""Run inside unshare by test_agent.py: the capture agent alone, against floods and oddities.

Prints one JSON object with what each experiment found.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.agent import Order, Point
from podwire.emulator.trace.bpf import compile_filter
from podwire.emulator.trace.frames import packets
from podwire.errors import MachineError
from podwire.testing.record import record_at

AGENT = "/run/capture.sock"
SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    sock.sendto(number.to_bytes(4, "big") * int(sys.argv[2]), ("127.0.0.1", 9))
"""


def send(namespace: str, count: int, words: int = 5) -> None:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", SEND]
    subprocess.run([*command, str(count), str(words)], check=True)


async def recorded(order: Order, action: Any) -> pcapng.Capture:
    async with record_at(order, path=AGENT) as recording:
        await asyncio.to_thread(action)
    return recording.capture()


def points(*names: str) -> tuple[Point, ...]:
    return tuple(Point(f"default/{name}", f"/run/netns/{name}", f"pod {name}") for name in names)


async def flood() -> dict[str, Any]:
    capture = await recorded(
        Order(points("a"), filter=compile_filter("udp")), lambda: send("a", 20000)
    )
    numbers = [int.from_bytes(p.payload[:4], "big") for p in packets(capture)]
    times = [frame.time_ns for frame in capture.frames]
    return {
        "seen": len(numbers),
        "in_order": numbers == sorted(numbers) and times == sorted(times),
        "dropped": capture.dropped,
        "received": sum(s.received or 0 for s in capture.statistics),
    }


async def slow_reader() -> dict[str, Any]:
    """The caller reads nothing until far more came than anybody keeps."""
    reader, writer = await asyncio.open_unix_connection(AGENT)
    writer.write(Order(points("a")).line())
    head = await reader.read(1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.to_thread(send, "a", 4000, 12000)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    writer.write(b"stop\n")
    data = head + await reader.read()
    writer.close()
    capture = pcapng.decode(data)
    seen = [p for p in packets(capture) if p.protocol == "UDP"]
    numbers = [int.from_bytes(p.payload[:4], "big") for p in seen]
    whole = [p.time_ns <= (capture.whole_until_ns or 0) for p in seen]
    return {
        "seen": len(seen),
        "dropped": capture.dropped,
        "complete": capture.complete,
        # Without a gap, and all of the time before the loss.
        "whole": [n for n, before in zip(numbers, whole, strict=True) if before],
    }


async def snaplen() -> list[tuple[int, int]]:
    order = Order(points("a"), snaplen=64, filter=compile_filter("udp"))
    capture = await recorded(order, lambda: send("a", 1, 100))
    return [(len(f.data), f.original_length) for f in capture.frames]


async def filtered() -> int:
    order = Order(points("a"), filter=compile_filter("udp port 10"))
    return len((await recorded(order, lambda: send("a", 100))).frames)


def connect() -> None:
    for command in (
        "ip link add va netns a type veth peer name vb netns b",
        "ip -n a link set va up",
        "ip -n b link set vb up",
        "ip -n a address add 10.0.0.1/24 dev va",
        "ip -n b address add 10.0.0.2/24 dev vb",
    ):
        subprocess.run(command.split(), check=True)


def use() -> None:
    code = "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.sendto(b'x',('10.0.0.2',9))"
    subprocess.run(["ip", "netns", "exec", "a", sys.executable, "-c", code], check=True)


def remove() -> None:
    subprocess.run(["ip", "-n", "a", "link", "del", "va"], check=True)


async def new_interface() -> list[str]:
    def action() -> None:
        connect()
        use()

    found = await seen_between_a_and_b(action)
    remove()
    return found


async def interface_removed() -> list[str]:
    def action() -> None:
        use()
        remove()

    connect()
    return await seen_between_a_and_b(action)


async def seen_between_a_and_b(action: Any) -> list[str]:
    order = Order(points("a", "b"), filter=compile_filter("udp port 9"))
    found = packets(await recorded(order, action))
    return [f"{packet.where} {packet.interface} {packet.direction}" for packet in found]


async def gone() -> dict[str, Any]:
    capture = await recorded(Order(points("a", "nowhere")), lambda: send("a", 1))
    return {"comments": capture.comments, "where": sorted({i.where for i in capture.interfaces})}


async def namespace_removed() -> int:
    def remove() -> None:
        send("c", 3)
        subprocess.run(["ip", "netns", "del", "c"], check=True)

    order = Order(points("c"), filter=compile_filter("udp"))
    return len((await recorded(order, remove)).frames)


async def two_at_once() -> list[int]:
    barrier = threading.Barrier(2)

    def both(count: int) -> None:
        barrier.wait()
        send("b", count)
        barrier.wait()

    order = Order(points("b"), filter=compile_filter("udp"))
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(recorded(order, lambda: both(10)))
        two = tasks.create_task(recorded(order, lambda: both(20)))
    return [len(one.result().frames), len(two.result().frames)]


async def refused() -> str:
    reader, writer = await asyncio.open_unix_connection(AGENT)
    writer.write(b'{"points": 7}\n')
    answer = await reader.read()
    writer.close()
    return str(json.loads(answer)["error"])


async def caller_that_leaves() -> bool:
    reader, writer = await asyncio.open_unix_connection(AGENT)
    writer.write(Order(points("a")).line())
    await reader.read(1)
    writer.close()
    await recorded(Order(points("a")), lambda: send("a", 1))
    return True


async def no_agent() -> str:
    try:
        async with record_at(Order(points("a")), path="/run/none.sock"):
            return "recorded"
    except MachineError as error:
        return str(error).splitlines()[0]


async def main() -> None:
    experiments = (
        flood, slow_reader, snaplen, filtered, new_interface, interface_removed, gone,
        namespace_removed, two_at_once, refused, caller_that_leaves, no_agent,
    )  # fmt: skip
    found = {function.__name__: await function() for function in experiments}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/netns").mkdir()
    for name in "abc":
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    agent = subprocess.Popen([sys.executable, "-m", "podwire.emulator.trace.agent", AGENT])
    while not Path(AGENT).exists():
        time.sleep(0.01)
    assert socket.AF_UNIX
    assert os.getpid() < 100, "run me in a PID namespace, so that everything ends with me"
    asyncio.run(main())
