"""Pure: classic BPF programs for listening sockets, which make unwanted clients meet silence.

A socket whose filter answers 0 drops the packet before TCP or UDP sees it: no RST, no ICMP, as with
DROP in a packet filter (Linux, Documentation/networking/filter.rst).
"""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Network

_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# A socket filter of TCP sees the packet from the TCP header on; the kernel lets it look back at the
# IP header by offsets from SKF_NET_OFF. The source address is at byte 12 of that header.
_SOURCE_ADDRESS = (-0x100000 + 12) & 0xFFFFFFFF
_ACCEPT = 0xFFFFFFFF
_DROP = 0

INSTRUCTION = 8
"""Bytes per instruction (struct sock_filter)."""

LONGEST = 4096
"""The kernel's limit (BPF_MAXINSNS), in instructions."""


def only_from(networks: Iterable[IPv4Network]) -> bytes:
    """Return a program that accepts packets from *networks* and drops all others.

    Without networks it drops everything. Raises ValueError beyond the kernel's limit, which is at
    about a thousand networks.
    """
    program: list[bytes] = []
    for network in networks:
        program += [
            _step(_LOAD_WORD, _SOURCE_ADDRESS),
            _step(_AND, int(network.netmask)),
            _step(_JUMP_IF_EQUAL, int(network.network_address), if_false=1),
            _step(_RETURN, _ACCEPT),
        ]
    program.append(_step(_RETURN, _DROP))
    if len(program) > LONGEST:
        raise ValueError(f"{len(program)} instructions are more than the kernel takes ({LONGEST})")
    return b"".join(program)


def _step(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
