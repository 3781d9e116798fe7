"""Pure: transactions as scripts for `nft -f -`.

They use what nft 1.0.1 knows, and nothing that later releases read differently.
"""

from collections.abc import Iterable, Iterator, Mapping

from podwire.proxy.nftables import layout
from podwire.proxy.nftables.names import TABLE
from podwire.proxy.nftables.objects import Element, Place, Rule, Transaction
from podwire.proxy.nftables.render import NODEPORT_IPS
from podwire.proxy.node import NodeView

_TABLE = f"ip {TABLE}"

CLEANUP = f"add table {_TABLE}\ndelete table {_TABLE}\n"
"""Removes the table, and is no error where there is none."""


def foundation(node: NodeView) -> str:
    """Return what must be there before any Service: the table with its sets, maps and chains.

    Nothing leads to them yet, and what is there already stays as it is.
    """
    lines = [f'add table {_TABLE} {{ comment "{layout.TABLE_COMMENT}" ; }}']
    lines += [
        f'add {m.kind} {_TABLE} {m.name} {{ type {m.type} ; comment "{m.comment}" ; }}'
        for m in layout.maps(node)
    ]
    bases = {base.name for base in layout.BASE_CHAINS}
    lines += [f"add chain {_TABLE} {name}" for name in layout.chains(node) if name not in bases]
    return _text(lines)


def completion(
    node: NodeView,
    elements: Mapping[Place, Element],
    *,
    stale_chains: Iterable[str] = (),
    stale_affinity: Iterable[str] = (),
) -> str:
    """Return what puts the whole to work: base chains, all elements, and the rest out of use.

    The base chains are made anew, so that another hook or priority takes effect.
    """
    rules = layout.chains(node)
    maps = layout.maps(node)
    lines: list[str] = []
    for base in layout.BASE_CHAINS:
        head = f"{_TABLE} {base.name}"
        hook = f"type {base.type} hook {base.hook} priority {base.priority} ;"
        lines += [f"add chain {head} {{ {hook} }}", f"delete chain {head}"]
        lines.append(f"add chain {head} {{ {hook} }}")
    for name, its_rules in rules.items():
        lines.append(f"flush chain {_TABLE} {name}")
        lines += [f"add rule {_TABLE} {name} {rule}" for rule in its_rules]
    lines += [f"flush {m.kind} {_TABLE} {m.name}" for m in maps]
    if all(m.name != NODEPORT_IPS for m in maps):
        head = f"set {_TABLE} {NODEPORT_IPS}"
        lines += [f"add {head} {{ type ipv4_addr ; }}", f"delete {head}"]
    lines += _added(elements)
    lines += [f"flush chain {_TABLE} {chain}" for chain in stale_chains]
    lines += [f"delete set {_TABLE} {name}" for name in stale_affinity]
    return _text(lines)


def changes(transaction: Transaction) -> str:
    """Return *transaction* as a script."""
    lines: list[str] = []
    for chain in transaction.chains:
        lines += [f"add chain {_TABLE} {chain}", f"flush chain {_TABLE} {chain}"]
    lines += [f"flush chain {_TABLE} {chain}" for chain in transaction.flushed]
    lines += [f"delete set {_TABLE} {name}" for name in transaction.deleted_affinity]
    lines += [
        f"add set {_TABLE} {name} {{ type ipv4_addr ; flags dynamic,timeout ; timeout {age}s ; }}"
        for name, age in transaction.affinity.items()
    ]
    lines += _rules(transaction.chains)
    lines += _deleted(transaction.deleted_elements)
    lines += _added(transaction.elements)
    lines += [f"delete chain {_TABLE} {chain}" for chain in transaction.deleted_chains]
    return _text(lines)


def _rules(chains: Mapping[str, tuple[Rule, ...]]) -> Iterator[str]:
    for chain, rules in chains.items():
        for rule in rules:
            yield f"add rule {_TABLE} {chain} {rule}"


def _deleted(places: Iterable[Place]) -> Iterator[str]:
    by_map: dict[str, list[str]] = {}
    for place in places:
        by_map.setdefault(place.map, []).append(_key(place))
    for name, keys in by_map.items():
        yield f"delete element {_TABLE} {name} {{ {', '.join(keys)} }}"


def _added(elements: Mapping[Place, Element]) -> Iterator[str]:
    by_map: dict[str, list[str]] = {}
    for place, element in elements.items():
        by_map.setdefault(place.map, []).append(_key(place) + _value(element))
    for name, written in by_map.items():
        yield f"add element {_TABLE} {name} {{ {', '.join(written)} }}"


def _key(place: Place) -> str:
    return " . ".join(part.lower() if isinstance(part, str) else str(part) for part in place.key)


def _value(element: Element) -> str:
    comment = f' comment "{element.comment}"' if element.comment else ""
    verdict = f" : {element.verdict}" if element.verdict else ""
    return comment + verdict


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
