"""Pure: what a trace keeps of each packet, as a BPF program: the head of bulk, all else whole.

A verdict needs headers and how a stream begins; with the bytes of a long answer, on each interface
of its way, the rings would overflow. DNS is kept whole: its answers are read, over TCP too.
"""

from podwire.emulator.trace.frames import VXLAN_PORTS
from podwire.emulator.trace.pcapng import DEFAULT_SNAPLEN

Instruction = tuple[int, int, int, int]

LONGEST = 4096
"""Packets up to here are kept whole, so that requests and heads of answers mostly are."""

HEAD = 1024
"""Bytes that are kept of longer TCP segments: all headers, inside VXLAN too, and some data."""

# linux/filter.h. Offsets are those of an Ethernet frame; X becomes the length of an IP header.
_LENGTH, _HALF, _BYTE, _HALF_X, _BYTE_X, _HEADER_TO_X = 0x80, 0x28, 0x30, 0x48, 0x50, 0xB1
_IF_EQUAL, _IF_GREATER, _RETURN = 0x15, 0x25, 0x06
_AND, _SHIFT_LEFT, _ADD, _ADD_X, _TO_X = 0x54, 0x64, 0x04, 0x0C, 0x07

_IPV4, _TCP, _UDP, _DNS = 0x0800, 6, 17, 53
_VXLAN, _IANA_VXLAN = sorted(VXLAN_PORTS, reverse=True)
_INNER = 8 + 8 + 14  # between two IP headers: UDP, VXLAN, Ethernet

_Step = tuple[int, int] | tuple[int, int, str, str]

# (code, constant), or (code, constant, where to if so, where to if not); "" is the next one.
_STEPS: dict[str, tuple[_Step, ...]] = {
    "": (
        (_LENGTH, 0),
        # From here on every header is there, and no load fails, which would drop the packet.
        (_IF_GREATER, LONGEST, "", "whole"),
        (_HALF, 12),
        (_IF_EQUAL, _IPV4, "", "whole"),
        (_HEADER_TO_X, 14),
        (_BYTE, 14 + 9),
        (_IF_EQUAL, _TCP, "ports", ""),
        (_IF_EQUAL, _UDP, "", "whole"),
        (_HALF_X, 14 + 2),
        (_IF_EQUAL, _VXLAN, "inside", ""),
        (_IF_EQUAL, _IANA_VXLAN, "inside", "whole"),
    ),
    "inside": (
        (_HALF_X, 14 + _INNER - 2),
        (_IF_EQUAL, _IPV4, "", "whole"),
        (_BYTE_X, 14 + _INNER + 9),
        (_IF_EQUAL, _TCP, "", "whole"),
        (_BYTE_X, 14 + _INNER),
        (_AND, 15),
        (_SHIFT_LEFT, 2),
        (_ADD_X, 0),
        (_ADD, _INNER),
        (_TO_X, 0),
    ),
    "ports": (
        (_HALF_X, 14),
        (_IF_EQUAL, _DNS, "whole", ""),
        (_HALF_X, 14 + 2),
        (_IF_EQUAL, _DNS, "whole", "head"),
    ),
    "head": ((_RETURN, HEAD),),
    "whole": ((_RETURN, DEFAULT_SNAPLEN),),
}


def _assembled() -> tuple[Instruction, ...]:
    """Return the steps with labels as distances."""
    begins = dict[str, int]()
    steps = list[_Step]()
    for label, block in _STEPS.items():
        begins[label] = len(steps)
        steps += block
    program = list[Instruction]()
    for at, (code, constant, *targets) in enumerate(steps, 1):
        jumps = [begins[str(label)] - at if label else 0 for label in targets] or [0, 0]
        program.append((code, jumps[0], jumps[1], constant))
    return tuple(program)


PROGRAM = _assembled()
