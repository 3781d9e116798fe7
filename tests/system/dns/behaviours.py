"""Inside: sends hostile packets and behaves badly, and notes how the real program takes it."""

import asyncio
import random
import re
import socket
import struct
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from podwire import linux
from tests.system.dns.attacks import MANY, SILENCE, WEB, Victim, attacked
from tests.system.dns.messages import question, rcode
from tests.system.dns.world import HERE, ask_tcp, ask_udp, connected

Json = dict[str, Any]


async def attack(wanted: Json) -> Json:
    """Send `packets`, then behave as `tcp` and `udp` name it; returns what was seen of each."""
    async with attacked(wanted["fixture"]) as victim:
        seen: Json = {"packets": {}, "tcp": {}, "udp": {}}
        for packet in wanted["packets"]:
            seen["packets"][packet["name"]] = await victim.packet(packet)
        for name in wanted["udp"]:
            seen["udp"][name] = await behaves(victim, UDP, name)
        # Most of these are a wait for a time-out: all at once; but not beside those that are many.
        crowds = [name for name in wanted["tcp"] if re.search(CROWDS, name)]
        for name in crowds:
            seen["tcp"][name] = await behaves(victim, TCP, name)
        async with asyncio.TaskGroup() as tasks:
            running = {
                name: tasks.create_task(behaves(victim, TCP, name))
                for name in wanted["tcp"]
                if name not in crowds
            }
        seen["tcp"] |= {name: task.result() for name, task in running.items()}
        seen["end"] = {"answers": await victim.answers(), "ended": victim.server.process.poll()}
        seen["log"] = victim.server.said()
        return seen


async def behaves(victim: Victim, known: "Behaviours", name: str) -> Json:
    """Behave as *name* says; returns what was wrong with how the server took it."""
    for pattern, behaviour in known:
        if found := re.search(pattern, name):
            try:
                problem = await behaviour(victim, name, found)
            except Exception as error:  # noqa: BLE001 - the test of this behaviour shows it
                problem = "".join(traceback.format_exception(error))
            if not problem and not await victim.answers():
                problem = "the baseline was not answered afterwards"
            return {"problem": problem}
    return {"unknown": name}


Behaviour = Callable[[Victim, str, "re.Match[str]"], Awaitable[str]]
Behaviours = tuple[tuple[str, Behaviour], ...]


def _query(number: int = 1, name: str = WEB) -> bytes:
    return question({"qname": name, "qtype": "A"}, number)


def _framed(packet: bytes, length: int | None = None) -> bytes:
    return struct.pack("!H", len(packet) if length is None else length) + packet


def _closes_after(sent: bytes) -> Behaviour:
    """Return what sends this much and no more: the server must close, without a word."""

    async def behave(victim: Victim, name: str, found: "re.Match[str]") -> str:
        del name, found
        async with connected(victim.place) as stream:
            stream.writer.write(sent)
            said = await stream.closed()
        return f"it said {said.hex()}" if said else ""

    return behave


async def _length_plus(victim: Victim, name: str, found: "re.Match[str]") -> str:
    packet = _query()
    return await _closes_after(_framed(packet, len(packet) + int(found[1])))(victim, name, found)


async def _length_minus(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name
    packet = _query()
    async with connected(victim.place) as stream:
        stream.writer.write(_framed(packet, len(packet) - int(found[1])))
        reply = await stream.receive()
    code = rcode(reply) if reply else "silence"
    return "" if code in ("FORMERR", "NOERROR") else f"the cut message was answered {code}"


async def _length_of(victim: Victim, name: str, found: "re.Match[str]") -> str:
    """Send a length prefix; with as many bytes as it says, or with 51 if the name says so."""
    length = int(found[1])
    packet = _query()
    if length > len(packet):
        return await _closes_after(_framed(packet, length))(victim, name, found)
    async with connected(victim.place) as stream:
        stream.writer.write(_framed(packet[:length]))
        reply = await stream.receive(within=SILENCE)
    return f"it was answered {reply.hex()}" if reply else ""


async def _pipelined(victim: Victim, name: str, found: "re.Match[str]") -> str:
    words = {"two": 2, "three": 3, "five": 5, "ten": 10, "twenty": 20, "hundred": 100}
    count = words.get(found[1].lower()) or int(found[1])
    del name
    numbers = range(100, 100 + count)
    async with connected(victim.place) as stream:
        stream.writer.write(b"".join(_framed(_query(number)) for number in numbers))
        replies = [await stream.receive() for _ in numbers]
    seen = sorted(int.from_bytes(reply[:2]) for reply in replies if reply)
    return "" if seen == list(numbers) else f"replies to {seen}"


async def _half_close(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name, found
    async with connected(victim.place) as stream:
        stream.send(_query())
        stream.writer.write_eof()
        reply = await stream.receive()
        rest = await stream.closed()
    return "" if reply and rcode(reply) == "NOERROR" and not rest else f"{reply!r}, then {rest!r}"


async def _bad_then_good(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name, found
    async with connected(victim.place) as stream:
        stream.send(_query(1)[:20])
        stream.send(_query(2))
        first, second = await stream.receive(), await stream.receive()
    codes = [rcode(reply) if reply else "silence" for reply in (first, second)]
    return "" if codes == ["FORMERR", "NOERROR"] else f"answered {codes}"


async def _reply_then_good(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name, found
    sent = bytearray(_query(1))
    sent[2] |= 0x80
    async with connected(victim.place) as stream:
        stream.send(bytes(sent))
        stream.send(_query(2))
        reply = await stream.receive()
    number = int.from_bytes(reply[:2]) if reply else 0
    return "" if number == 2 else f"the first reply was to {number}"


async def _slow(victim: Victim, name: str, found: "re.Match[str]") -> str:
    """Send a byte each so many seconds; fast enough or not for the whole message's 3 s."""
    del name
    pause = float(found[1])
    sent = _framed(_query())
    async with connected(victim.place) as stream:
        writing = asyncio.gather(_dribble(stream.writer, sent, pause), return_exceptions=True)
        reply = await stream.receive()
        writing.cancel()
    if len(sent) * pause < 3.0:
        return "" if reply and rcode(reply) == "NOERROR" else "it was not answered"
    return f"it was answered {reply.hex()}" if reply else ""


async def _slow_second(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name
    async with connected(victim.place) as stream:
        stream.send(_query(1))
        first = await stream.receive()
        pause = float(found[1])
        writing = asyncio.gather(
            _dribble(stream.writer, _framed(_query(2)), pause), return_exceptions=True
        )
        said = await stream.closed()
        writing.cancel()
    if not first:
        return "the first query was not answered"
    return f"it was answered {said.hex()}" if said else ""


async def _dribble(writer: asyncio.StreamWriter, sent: bytes, pause: float) -> None:
    # By the clock: a pause that takes too long is made up for.
    begin = time.monotonic()
    for number in range(len(sent)):
        await asyncio.sleep(max(0.0, begin + number * pause - time.monotonic()))
        writer.write(sent[number : number + 1])


async def _idle(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name
    async with AsyncExitStack() as stack:
        for _ in range(int(found[1])):
            await stack.enter_async_context(connected(victim.place))
        if not await victim.answers():
            return "UDP is not served"
        reply = await ask_tcp(victim.place, _query())
        return "" if reply and rcode(reply) == "NOERROR" else "new TCP clients are not served"


async def _never_reads(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name, found
    before = victim.server.memory()
    packet = _framed(_query(1, MANY))
    loop = asyncio.get_running_loop()
    with victim.place.socket(socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(sock, (HERE, 53))
        try:
            async with asyncio.timeout(30.0):
                while True:
                    await loop.sock_sendall(sock, packet * 100)
        except ConnectionError:
            pass
        except TimeoutError:
            return "it was not closed within 30 s"
    grown = victim.server.memory() - before
    return "" if grown < 32 << 20 else f"its memory grew by {grown} bytes"


async def _large_query(victim: Victim, name: str, found: "re.Match[str]") -> str:
    del name, found
    edns = {"udp_size": 1232, "options": [[12, "00" * 600]]}
    packet = question({"qname": WEB, "qtype": "A", "edns": edns}, 9)
    reply = await ask_udp(victim.place, packet)
    code = rcode(reply) if reply else "silence"
    return "" if code == "NOERROR" else f"a query of {len(packet)} bytes was answered {code}"


async def _mutated(victim: Victim, name: str, found: "re.Match[str]") -> str:
    count, lowest, highest = int(found[1]), int(found[2]), int(found[3])
    del name
    dice = random.Random(count)
    packets = list[bytes]()
    for number in range(count):
        packet = bytearray(_query(number))
        for _ in range(dice.randint(lowest, highest)):
            packet[dice.randrange(len(packet))] = dice.randrange(256)
        packets.append(bytes(packet))
    codes = {"NOERROR", "NXDOMAIN", "FORMERR", "REFUSED", "NOTIMP", "SERVFAIL", "BADVERS"}
    seen = await _codes(victim, packets)
    return "" if seen <= codes else f"answered {sorted(seen - codes)}"


async def _random(victim: Victim, name: str, found: "re.Match[str]") -> str:
    count, shortest, longest = int(found[1]), int(found[2]), int(found[3])
    del name
    dice = random.Random(count)
    await _codes(victim, [dice.randbytes(dice.randint(shortest, longest)) for _ in range(count)])
    return ""


async def _codes(victim: Victim, packets: list[bytes]) -> set[str]:
    """Send all *packets*; return the codes of the replies that come until there is silence."""
    loop = asyncio.get_running_loop()
    codes = set[str]()
    with victim.place.socket(socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (HERE, 53))

        async def listen() -> None:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        reply = await loop.sock_recv(sock, 65535)
                except TimeoutError:
                    return
                codes.add(rcode(reply))

        # Few at a time: what the kernel drops, the server is not tried with.
        for start in range(0, len(packets), 100):
            for packet in packets[start : start + 100]:
                await loop.sock_sendall(sock, packet)
            if not await victim.answers():
                return {"nothing at all"}
        await listen()
    return codes


async def _from_itself(victim: Victim, name: str, found: "re.Match[str]") -> str:
    """Send a query that claims to come from the server's own port, and from port 0."""
    del name, found
    packet = _query(3)
    with linux.socket_in(
        victim.place.path, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP
    ) as raw:
        for port in (53, 0):
            raw.sendto(struct.pack("!4H", port, 53, 8 + len(packet), 0) + packet, (HERE, 0))
    if not await victim.answers():
        return "the baseline was not answered"
    before = victim.received()
    await asyncio.sleep(SILENCE)
    more = victim.received() - before
    return "" if more <= 2 else f"{more} datagrams within {SILENCE} s: a loop"


TCP: Final[Behaviours] = (
    (r"^one octet of the length prefix", _closes_after(b"\0")),
    (r"^length prefix only", _closes_after(b"\0\x33")),
    (r"^(connect|nothing|no data|silence|open)", _closes_after(b"")),
    (r"len\+(\d+)", _length_plus),
    (r"len-(\d+)", _length_minus),
    (r"^length prefix (\d+)", _length_of),
    (r"^(\w+) (?:pipelined )?queries in", _pipelined),
    (r"half-close", _half_close),
    (r"^malformed query then a good", _bad_then_good),
    (r"^response .*then a good query", _reply_then_good),
    (r"^(?:slow client|slow loris), 1 byte each ([\d.]+) s", _slow),
    (r"^second query .*1 byte each ([\d.]+) s", _slow_second),
    (r"^(\d+) idle connections", _idle),
    (r"never reads", _never_reads),
)
CROWDS: Final = "idle connections|never reads"
UDP: Final[Behaviours] = (
    (r"^query larger than 512", _large_query),
    (r"^(\d+) single queries with (\d+) to (\d+) random bytes", _mutated),
    (r"^(\d+) random datagrams of (\d+) to (\d+) bytes", _random),
    (r"^query whose source is the server's own", _from_itself),
)
