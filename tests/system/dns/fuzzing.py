"""Inside: random and mutated packets against the real program, and what they cost it."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

from tests.system.dns.attacks import WEB, Victim, attacked
from tests.system.dns.messages import question
from tests.system.dns.world import HERE, Place, connected, get

Json = dict[str, Any]

ROUND: Final = 400
"""Packets between two looks at the server."""

FEWEST: Final = 4
"""Rounds, however long they take."""

IN_FLIGHT: Final = 64
EQUAL: Final = 128
"""How often a packet is sent to learn what it costs."""

NAMES: Final = (
    WEB, "db-0.db.default.svc.cluster.local.", "_http._tcp.web-svc.default.svc.cluster.local.",
    "10-244-1-5.default.pod.cluster.local.", "cluster.local.", "www.example.com.", ".",
    "10.10.96.10.in-addr.arpa.", "ext.default.svc.cluster.local.", f"{'x' * 63}.{'y' * 63}.test.",
)  # fmt: skip
TYPES: Final = ("A", "AAAA", "SRV", "PTR", "TXT", "SOA", "NS", "CNAME", "MX", "AXFR", "IXFR", "ANY")


async def fuzz(wanted: Json) -> Json:
    """Send packets made from `seed` for `seconds`; `packets` are hostile ones, by name, to start from."""
    async with attacked(wanted["fixture"]) as victim:
        place, server = victim.place, victim.server
        hostile = {name: bytes.fromhex(text) for name, text in wanted["packets"].items()}
        costs = {name: await _cost(victim, packet) for name, packet in hostile.items()}
        packets = mutants(random.Random(wanted["seed"]), list(hostile.values()))
        end = time.monotonic() + wanted["seconds"]
        sent, silent_rounds, memory = 0, list[int](), list[int]()
        spent = server.cpu()
        # On a busy machine the time may be over after a round or two, which says little.
        while time.monotonic() < end or len(memory) < FEWEST:
            await _over_udp(place, [next(packets) for _ in range(ROUND)])
            await _over_tcp(place, [next(packets) for _ in range(ROUND // 20)])
            sent += ROUND + ROUND // 20
            victim.behind.asked.clear()
            if not await victim.answers():
                silent_rounds.append(sent)
            memory.append(server.memory())
        return {
            "costs": costs,
            "sent": sent,
            "silent": silent_rounds,
            "cpu": (server.cpu() - spent) / sent,
            "memory": memory,
            "ended": server.process.poll(),
            "metrics": (await get(place, 9153, "/metrics"))[1],
            "log": server.said()[-4000:],
        }


async def _cost(victim: Victim, packet: bytes) -> float:
    """Return the seconds of CPU that one of many equal packets costs the server."""
    before = victim.spent()
    await _over_udp(victim.place, [packet] * EQUAL)
    assert await victim.answers()
    return (victim.spent() - before) / EQUAL


def mutants(dice: random.Random, hostile: list[bytes]) -> Iterator[bytes]:
    """Yield packets without end: noise, and queries and hostile packets with something changed."""
    while True:
        if dice.random() < 0.05:
            yield dice.randbytes(dice.randrange(301))
            continue
        packet = bytearray(dice.choice(hostile) if dice.random() < 0.4 else _query(dice))
        for _ in range(dice.choice((0, 1, 1, 2, 3, 6))):
            _change(packet, dice)
        yield struct.pack("!H", dice.getrandbits(16)) + bytes(packet[2:])


def _query(dice: random.Random) -> bytes:
    step: Json = {"qname": dice.choice(NAMES), "qtype": dice.choice(TYPES)}
    if dice.random() < 0.5:
        options = [[dice.choice((3, 8, 10, 12, 65001)), dice.randbytes(dice.randrange(12)).hex()]]
        step["edns"] = {
            "udp_size": dice.choice((0, 511, 512, 1232, 4096, 65535)),
            "do": dice.random() < 0.5,
            "options": options if dice.random() < 0.5 else [],
        }
    return question(step, 0)


def _change(packet: bytearray, dice: random.Random) -> None:
    if not packet:
        return
    at = dice.randrange(len(packet))
    match dice.randrange(5):
        case 0:
            packet[at] ^= 1 << dice.randrange(8)
        case 1:
            packet[at] = dice.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))
        case 2:
            del packet[at : at + dice.randrange(1, 8)]
        case 3:
            packet[at:at] = dice.randbytes(dice.randrange(1, 8))
        case _:
            # A pointer to somewhere.
            packet[at : at + 2] = struct.pack("!H", 0xC000 | dice.randrange(len(packet) + 4))


async def _over_udp(place: Place, packets: list[bytes]) -> None:
    """Send all; replies are read so that the server is not held up, and not looked at."""
    loop = asyncio.get_running_loop()
    with place.socket(socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (HERE, 53))
        for first in range(0, len(packets), IN_FLIGHT):
            for packet in packets[first : first + IN_FLIGHT]:
                await loop.sock_sendall(sock, packet)
            # Some are not answered at all: nothing says when the last reply has come.
            try:
                async with asyncio.timeout(0.02):
                    while True:
                        await loop.sock_recv(sock, 65535)
            except TimeoutError:
                pass


async def _over_tcp(place: Place, packets: list[bytes]) -> None:
    for packet in packets:
        try:
            async with connected(place) as stream:
                stream.send(packet)
                # A transfer is cut off in the middle, and so is who waits for a reply in vain.
                await stream.receive(within=0.05)
        except ConnectionError:
            continue
