# pyright: basic
"""The door to scapy: captured frames as scapy packets, for people and tests to look at.

Nothing here decides anything; the judge reads raw bytes (frames.py). scapy takes a third of a
second to load and is loaded only when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.emulator.trace import pcapng

if TYPE_CHECKING:
    from scapy.packet import Packet as ScapyPacket


def to_scapy(frame: bytes, linktype: int = pcapng.LINKTYPE_ETHERNET) -> ScapyPacket:
    """Return *frame* dissected by scapy, VXLAN and DNS included."""
    # Lazy: scapy costs 0.3 s, and only who looks at packets shall pay. Loading a layer teaches
    # scapy to find it below the others.
    from scapy.layers import dns, inet, l2, vxlan  # noqa: F401, PLC0415

    return inet.IP(frame) if linktype == pcapng.LINKTYPE_RAW else l2.Ether(frame)


def all_to_scapy(capture: pcapng.Capture) -> list[ScapyPacket]:
    """Return all frames of *capture* in order of time.

    Of each, `time` is the kernel's time stamp in seconds, `sniffed_on` is "WHERE INTERFACE" and
    `comments` are those of the file.
    """
    dissected: list[ScapyPacket] = []
    for frame in sorted(capture.frames, key=lambda frame: frame.time_ns):
        interface = capture.interfaces[frame.interface]
        packet = to_scapy(frame.data, interface.linktype)
        packet.time = frame.time_ns / 1e9
        packet.wirelen = frame.original_length
        packet.sniffed_on = interface.name
        packet.comments = [text.encode() for text in frame.comments]
        dissected.append(packet)
    return dissected
