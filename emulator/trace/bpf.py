"""A capture filter as tcpdump writes it -> BPF instructions for Ethernet frames.

By libpcap if the machine has it, else by `tcpdump -ddd`. The instructions are data: they can be
compiled here and attached elsewhere.
"""

import ctypes
import ctypes.util
import struct
import subprocess
from collections.abc import Sequence

from podwire.errors import MachineError, UsageError

Instruction = tuple[int, int, int, int]

_DLT_EN10MB = 1
_SNAPLEN = 262144
_PCAP_ERROR = -1
_NO_NETMASK = 0xFFFFFFFF
_EMPTY_FILE = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, _DLT_EN10MB)


def compile_filter(expression: str) -> tuple[Instruction, ...]:
    """Return the program for *expression*; an empty one for an empty expression.

    Raises UsageError for what is no filter, MachineError if nothing here can compile filters.
    """
    if not expression.strip():
        return ()
    library = load_libpcap()
    return by_tcpdump(expression) if library is None else by_libpcap(library, expression)


def load_libpcap() -> ctypes.CDLL | None:
    """Return libpcap, or None if the machine has none."""
    # By name first: find_library starts a compiler or ldconfig to look around.
    for name in ("libpcap.so.1", "libpcap.so.0.8"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    found = ctypes.util.find_library("pcap")
    return ctypes.CDLL(found) if found else None


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def by_libpcap(library: ctypes.CDLL, expression: str) -> tuple[Instruction, ...]:
    """Compile with libpcap."""
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    handle = ctypes.c_void_p(library.pcap_open_dead(_DLT_EN10MB, _SNAPLEN))
    program = _Program()
    try:
        text = expression.encode()
        result = library.pcap_compile(
            handle, ctypes.byref(program), text, 1, ctypes.c_uint(_NO_NETMASK)
        )
        if result == _PCAP_ERROR:
            raise _not_a_filter(expression, library.pcap_geterr(handle).decode(errors="replace"))
        entries = (program.instructions[at] for at in range(program.length))
        compiled = tuple((int(e.code), int(e.jt), int(e.jf), int(e.k)) for e in entries)
        library.pcap_freecode(ctypes.byref(program))
        return compiled
    finally:
        library.pcap_close(handle)


def by_tcpdump(expression: str, tcpdump: Sequence[str] = ("tcpdump",)) -> tuple[Instruction, ...]:
    """Compile with tcpdump, which reads an empty file so that it needs no privilege."""
    try:
        done = subprocess.run(
            [*tcpdump, "-r", "-", "-ddd", expression],
            input=_EMPTY_FILE,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except FileNotFoundError as error:
        raise MachineError(
            "capture filters need libpcap or tcpdump\n  run: apt-get install libpcap0.8"
        ) from error
    if done.returncode != 0:
        raise _not_a_filter(expression, done.stderr.decode(errors="replace").splitlines()[-1])
    lines = done.stdout.decode().split("\n")[1:]
    return tuple(_parsed(line) for line in lines if line)


def _parsed(line: str) -> Instruction:
    code, jt, jf, k = line.split()
    return int(code), int(jt), int(jf), int(k)


def _not_a_filter(expression: str, complaint: str) -> UsageError:
    return UsageError(
        f"{expression!r} is no capture filter: {complaint.removeprefix('tcpdump: ')}\n"
        "  examples: 'tcp port 80', 'host 10.244.1.5 and not port 53'; see: man pcap-filter"
    )
