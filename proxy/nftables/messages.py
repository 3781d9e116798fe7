"""Pure: transactions as netlink messages of nf_tables, without nft.

nft first reads back all chains and sets of the machine, so that one change of endpoints costs more
the more Services there are. These messages say the same with the same bytes. Rules that are text
are left to nft. The numbers are the kernel's (linux/netfilter/nf_tables.h).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from podwire.netlink.nfnetlink import NFTABLES, message
from podwire.netlink.rtnetlink import APPEND, CREATE, Message, attribute
from podwire.proxy.nftables.names import TABLE
from podwire.proxy.nftables.objects import (
    MASQUERADE,
    Balance,
    Element,
    ElementKey,
    Goto,
    Lead,
    Mark,
    Place,
    Remember,
    Remembered,
    Rule,
    Spread,
    Transaction,
)
from podwire.proxy.table import Protocol

NEW_CHAIN, DELETE_CHAIN = 3, 5
NEW_RULE, DELETE_RULE = 6, 8
NEW_SET, DELETE_SET = 9, 11
NEW_ELEMENT, DELETE_ELEMENT = 12, 14

_NESTED = 0x8000
_LIST_ELEMENT = _NESTED | 1
_DATA_VALUE, _DATA_VERDICT = 1, _NESTED | 2
_ANONYMOUS_MAP = 0x1 | 0x2 | 0x8  # anonymous, constant, map
_INTEGER, _ADDRESS, _PORT = 4, 7, 13  # nft's numbers of types, for whoever lists the table
_REG_VERDICT, _REG_1, _REG_2, _REG32_01 = 0, 1, 2, 9
_MARK, _L4PROTO = 3, 16
_RANDOM = 1
_UPDATE = 1
_PORT_GIVEN = 2
_DYNAMIC, _TIMEOUT = 0x20, 0x10
_VERDICTS = 0xFFFFFF00
_DROP, _GOTO = 0, -4
_COMMENT = 0  # the kind of user data, of elements and of rules alike
# Key and data are in the byte order of the network, as nft notes them for itself.
_BYTE_ORDERS = bytes.fromhex("000401000000010400000000060400000000")
_VERDICT_ORDERS = bytes.fromhex("00040100000001040000000004080004010000000100060400000000")
_ADDRESS_ORDER = bytes.fromhex("000402000000")
ANONYMOUS = "__map"
"""What nft's names of anonymous maps begin with. Lists show their contents, never the name."""


PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def encode(transaction: Transaction, first_map: int) -> tuple[Message, ...] | None:
    """Return *transaction* as the messages of a batch, or None if it has what only nft can say.

    Anonymous maps are numbered from *first_map* on. The kernel would find names for them itself,
    but looks for each through those of all others, and has ten thousand names read.
    """
    found: list[Message] = []
    for chain in transaction.chains:
        found += (_chain(NEW_CHAIN, chain), _flush(chain))
    found += [_flush(chain) for chain in transaction.flushed]
    found += [
        message(NFTABLES, DELETE_SET, 0, _TABLE + _text(2, name))
        for name in transaction.deleted_affinity
    ]
    number = first_map
    for name, seconds in transaction.affinity.items():
        found.append(_clients(name, seconds, number))
        number += 1
    for chain, rule in _rules(transaction.chains):
        if isinstance(rule, str):
            return None
        written = _rule(chain, *_expressions(rule, number))
        if isinstance(rule, Balance | Spread):
            found += _choice(rule, number)
            number += 1
        found.append(written)
    found += _elements(DELETE_ELEMENT, {place: Element() for place in transaction.deleted_elements})
    found += _elements(NEW_ELEMENT, transaction.elements)
    found += [_chain(DELETE_CHAIN, chain) for chain in transaction.deleted_chains]
    return tuple(found)


def _rules(chains: Mapping[str, tuple[Rule, ...]]) -> Iterator[tuple[str, Rule]]:
    for chain, rules in chains.items():
        for rule in rules:
            yield chain, rule


def _chain(kind: int, name: str) -> Message:
    flags = CREATE if kind == NEW_CHAIN else 0
    return message(NFTABLES, kind, flags, _TABLE + _text(3, name))


def _flush(chain: str) -> Message:
    return message(NFTABLES, DELETE_RULE, 0, _TABLE + _text(2, chain))


def _clients(name: str, seconds: int, number: int) -> Message:
    """Return the set of addresses that are kept for *seconds*."""
    body = _TABLE + _text(2, name) + _u32(3, _DYNAMIC | _TIMEOUT) + _u32(4, _ADDRESS) + _u32(5, 4)
    body += _u32(10, number) + attribute(11, struct.pack("!Q", seconds * 1000))
    return message(NFTABLES, NEW_SET, CREATE, body + attribute(13, _ADDRESS_ORDER))


def _choice(rule: Balance | Spread, number: int) -> Iterator[Message]:
    """Yield an anonymous map of what *rule* chooses from, by number.

    *number* must be of no other anonymous map of the table.
    """
    if isinstance(rule, Balance):
        data_type, data_size, orders = _ADDRESS << 6 | _PORT, 8, _BYTE_ORDERS
        found = [
            attribute(_DATA_VALUE, b.address.packed + struct.pack("!Hxx", b.port))
            for b in rule.backends
        ]
    else:
        data_type, data_size, orders = _VERDICTS, 0, _VERDICT_ORDERS
        found = [_verdict(f"goto {chain}") for chain in rule.chains]
    name = _text(2, f"{ANONYMOUS}{number}")
    body = _TABLE + name + _u32(3, _ANONYMOUS_MAP) + _u32(4, _INTEGER) + _u32(5, 4)
    body += _u32(6, data_type) + _u32(7, data_size) + _u32(10, number)
    body += attribute(_NESTED | 9, _u32(1, len(found))) + attribute(13, orders)
    yield message(NFTABLES, NEW_SET, CREATE, body)
    elements = [_element(struct.pack("=I", n), data) for n, data in enumerate(found)]
    for part in _parts(elements):
        body = _TABLE + name + _u32(4, number) + attribute(_NESTED | 3, b"".join(part))
        yield message(NFTABLES, NEW_ELEMENT, CREATE, body)


def _expressions(
    rule: Balance | Mark | Goto | Spread | Remembered | Remember | Lead, number: int
) -> tuple[tuple[tuple[str, bytes], ...], str]:
    """Return the expressions of *rule* and its comment."""
    match rule:
        case Balance():
            to = _u32(3, _REG_1) + _u32(5, _REG32_01)
            chosen = _random(len(rule.backends), number, _REG_1)
            return (*_is(rule.protocol), *chosen, ("nat", _DNAT + to)), ""
        case Spread():
            return _random(len(rule.chains), number, _REG_VERDICT), ""
        case Lead():
            address = attribute(_NESTED | 2, _value(rule.backend.address.packed))
            port = attribute(_NESTED | 2, _value(struct.pack("!H", rule.backend.port)))
            to = _u32(3, _REG_1) + _u32(5, _REG_2) + _u32(7, _PORT_GIVEN)
            return (
                *_is(rule.protocol),
                ("immediate", _u32(1, _REG_1) + address),
                ("immediate", _u32(1, _REG_2) + port),
                ("nat", _DNAT + to),
            ), ""
        case Remember():
            return (
                _SOURCE,
                ("dynset", _u32(4, _REG_1) + _u32(3, _UPDATE) + _text(1, rule.clients)),
            ), ""
        case Remembered():
            known = ("lookup", _u32(2, _REG_1) + _text(1, rule.clients))
            return (_SOURCE, known, _goto(rule.chain)), ""
        case Goto():
            return (_goto(rule.chain),), ""
        case Mark():
            # The kernel has no "or": it keeps all other bits, and turns this one, then 0, over.
            kept = _value(struct.pack("=I", ~rule.bit & 0xFFFFFFFF))
            turned = _value(struct.pack("=I", rule.bit))
            operands = _u32(1, _REG_1) + _u32(2, _REG_1) + _u32(3, 4)
            operands += attribute(_NESTED | 4, kept) + attribute(_NESTED | 5, turned)
            return (
                ("meta", _u32(2, _MARK) + _u32(1, _REG_1)),
                ("bitwise", operands),
                ("meta", _u32(2, _MARK) + _u32(3, _REG_1)),
            ), MASQUERADE


def _is(protocol: Protocol) -> tuple[tuple[str, bytes], ...]:
    wanted = attribute(_NESTED | 3, _value(bytes([PROTOCOL_NUMBERS[protocol]])))
    return (
        ("meta", _u32(2, _L4PROTO) + _u32(1, _REG_1)),
        ("cmp", _u32(1, _REG_1) + _u32(2, 0) + wanted),
    )


def _random(size: int, number: int, register: int) -> tuple[tuple[str, bytes], ...]:
    """Draw one of *size* numbers and load what the anonymous map has there into *register*."""
    name = _text(1, f"{ANONYMOUS}{number}")
    return (
        ("numgen", _u32(1, _REG_1) + _u32(2, size) + _u32(3, _RANDOM) + _u32(4, 0)),
        ("lookup", _u32(2, _REG_1) + _u32(3, register) + name + _u32(4, number)),
    )


def _goto(chain: str) -> tuple[str, bytes]:
    verdict = attribute(_NESTED | 2, _verdict(f"goto {chain}"))
    return ("immediate", _u32(1, _REG_VERDICT) + verdict)


def _rule(chain: str, expressions: tuple[tuple[str, bytes], ...], comment: str = "") -> Message:
    written = b"".join(
        attribute(_LIST_ELEMENT, _text(1, word) + attribute(_NESTED | 2, operands))
        for word, operands in expressions
    )
    body = _TABLE + _text(2, chain) + attribute(_NESTED | 4, written)
    if comment:
        body += attribute(7, _user_data(comment))
    return message(NFTABLES, NEW_RULE, CREATE | APPEND, body)


def _elements(kind: int, elements: Mapping[Place, Element]) -> Iterator[Message]:
    by_map: dict[str, list[bytes]] = {}
    for place, element in elements.items():
        written = _element(_key(place.key), _verdict(element.verdict), element.comment)
        by_map.setdefault(place.map, []).append(written)
    flags = CREATE if kind == NEW_ELEMENT else 0
    for name, found in by_map.items():
        for part in _parts(found):
            body = _TABLE + _text(2, name) + attribute(_NESTED | 3, b"".join(part))
            yield message(NFTABLES, kind, flags, body)


def _parts(elements: list[bytes]) -> Iterable[list[bytes]]:
    # Names of chains make elements long: some 350 bytes at most.
    size = 150
    return (elements[start : start + size] for start in range(0, len(elements), size))


def _element(key: bytes, data: bytes, comment: str = "") -> bytes:
    body = attribute(_NESTED | 1, _value(key))
    if data:
        body += attribute(_NESTED | 2, data)
    if comment:
        body += attribute(6, _user_data(comment))
    return attribute(_LIST_ELEMENT, body)


def _key(key: ElementKey) -> bytes:
    # Each part of a concatenation begins at a register of four bytes.
    written = b""
    for part in key:
        if isinstance(part, IPv4Address):
            written += part.packed
        elif isinstance(part, str):
            written += struct.pack("=Bxxx", PROTOCOL_NUMBERS[part])
        else:
            written += struct.pack("!Hxx", part)
    return written


def _verdict(verdict: str) -> bytes:
    if not verdict:
        return b""
    if verdict == "drop":
        return attribute(_DATA_VERDICT, struct.pack("=HH", 8, 1) + struct.pack("!i", _DROP))
    chain = _text(2, verdict.removeprefix("goto "))
    return attribute(_DATA_VERDICT, struct.pack("=HH", 8, 1) + struct.pack("!i", _GOTO) + chain)


def _user_data(comment: str) -> bytes:
    # nft keeps here what is for people only.
    text = comment.encode() + b"\0"
    return bytes([_COMMENT, len(text)]) + text


def _value(data: bytes) -> bytes:
    return attribute(_DATA_VALUE, data)


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 8, kind) + struct.pack("!I", value)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


_TABLE = _text(1, TABLE)
_DNAT = _u32(1, 0x1) + _u32(2, 2)  # destination NAT, IPv4
# Four bytes of the network header, from the source address on.
_SOURCE = ("payload", _u32(1, _REG_1) + _u32(2, 1) + _u32(3, 12) + _u32(4, 4))
