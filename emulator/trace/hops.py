"""Pure: what the judge says: hops, the outcome, and the verdict."""

from dataclasses import dataclass, replace
from typing import Literal

from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.naming import Naming
from podwire.emulator.trace.pcapng import Direction
from podwire.emulator.trace.tls import record_name

Word = Literal["confirmed", "refuted", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Translation:
    """What conntrack must hold of a translated connection: the *original* flow, the *reply* to it.

    *original* is empty if no interface showed it. *source* says how the source changed, if it did.
    """

    original: str
    reply: str
    source: str = ""

    def __str__(self) -> str:
        return (
            f"{self.original}, replies {self.reply}" if self.original else f"replies {self.reply}"
        )


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a request.

    *kind*: "packet" was seen, "inferred" was concluded (*summary* says from what), "missing" should
    have been seen at *where* and was not. *time_ns* counts from the epoch; 0 for what is missing.
    *expected* says what the objects demand here; empty where they demand nothing. *leg* is "dns" or
    "request". *direction* is given where a device shows a packet twice. Of an inferred hop, *mode*
    is that of the node's proxy, and *translation* what it did to the connection, if it is no relay.
    """

    kind: Literal["packet", "inferred", "missing"]
    leg: Literal["dns", "request"]
    where: str
    interface: str
    protocol: str
    src: str
    dst: str
    summary: str
    time_ns: int = 0
    expected: str = ""
    packet: Packet | None = None
    index: int = 0
    node: str = ""
    pod: str = ""
    direction: Direction = ""
    mode: str = ""
    translation: Translation | None = None

    def saying(self, more: str) -> "Hop":
        """Return this hop with *more* to its summary."""
        return replace(self, summary=f"{self.summary}   {more}")


@dataclass(frozen=True, slots=True)
class Finding:
    """How one flow, or the whole request, went: *wrong* is the hop where it died.

    *not_captured* are pods on its way that were watched from their nodes only. *naming* is the
    search for the name that was asked for, if one was.
    """

    word: Word
    hops: tuple[Hop, ...]
    outcome: Outcome | None = None
    reason: str = ""
    wrong: Hop | None = None
    status: int | None = None
    not_captured: tuple[str, ...] = ()
    naming: Naming | None = None


def packet_hop(
    packet: Packet,
    leg: Literal["dns", "request"],
    *,
    expected: str = "",
    summary: str = "",
    direction: Direction = "",
) -> Hop:
    """Return the hop of a packet that was seen."""
    core = packet.core
    said = summary or summary_of(core)
    if packet.inner is not None:
        said += f"   (VXLAN {packet.src} > {packet.dst})"
    return Hop(
        kind="packet",
        leg=leg,
        where=packet.where,
        interface=packet.interface,
        protocol=core.protocol,
        src=_end(core, core.src, core.sport),
        dst=_end(core, core.dst, core.dport),
        summary=said,
        time_ns=packet.time_ns,
        expected=expected,
        packet=packet,
        direction=direction,
    )


def summary_of(packet: Packet) -> str:
    """Return what a packet says, in a few words."""
    if packet.protocol == "ICMP":
        quoted = f" for {packet.quoted.flow}" if packet.quoted is not None else ""
        return f"{packet.icmp}{quoted}"
    if packet.protocol == "ARP":
        word = "who has" if packet.flags == "request" else "I am"
        return f"{word} {packet.dst if packet.flags == 'request' else packet.src}"
    message = packet.dns
    if message is not None:
        return message.summary()
    if packet.payload:
        tls = record_name(packet.payload) if packet.protocol == "TCP" else ""
        return tls or first_line(packet.payload) or f"{packet.length} bytes"
    if packet.protocol == "TCP":
        words = {"S": "SYN", "SA": "SYN ACK", "A": "ACK", "AF": "FIN", "R": "RST", "AR": "RST"}
        return words.get(packet.flags, packet.flags)
    return f"{packet.length} bytes"


def first_line(payload: bytes) -> str:
    """Return the first line if it is text (`GET / HTTP/1.1`), shortened; else nothing."""
    line = payload[:200].split(b"\n", 1)[0].rstrip(b"\r")
    text = line.decode("ascii", "replace")
    return text[:72] if text and text.isprintable() and "\ufffd" not in text else ""


def _end(packet: Packet, address: object, port: int) -> str:
    return f"{address}:{port}" if packet.protocol in {"TCP", "UDP"} else str(address)
