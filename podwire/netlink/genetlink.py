"""Pure: the frame of generic netlink's messages, and the question which families there are.

The numbers are the kernel's (linux/genetlink.h).
"""

import struct

from podwire.netlink.present import attributes
from podwire.netlink.rtnetlink import Message

NETLINK_GENERIC = 16
NESTED = 0x8000
_DUMP = 0x300
_CONTROL = 16
_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_HEAD = struct.Struct("=BBxx")
HEAD = _HEAD.size
"""Bytes before the attributes of a message (struct genlmsghdr)."""


def message(family: int, command: int, version: int, flags: int, attributes: bytes) -> Message:
    """Return a message to *family*, which is a number that `family` has read."""
    return Message(family, flags, _HEAD.pack(command, version) + attributes)


def families_question() -> Message:
    """Return the question for all families. To ask for one by name would load its module."""
    return message(_CONTROL, _GET_FAMILY, 1, _DUMP, b"")


def family(body: bytes) -> tuple[str, int]:
    """Return the name and number of the family in the body of an answer."""
    found = dict(attributes(body, HEAD))
    name = found[_FAMILY_NAME].rstrip(b"\0").decode()
    return name, int(struct.unpack_from("=H", found[_FAMILY_ID])[0])
