"""Pure: what a vector expects and what was seen, in one form, so that they can be compared.

The rules are those of the files (`how_to_compare`): sections are multisets, names count with their
case, the serial of an SOA is free, an alias comes before what it leads to.
"""

from collections import Counter
from typing import Any

Json = dict[str, Any]

SECTIONS = ("answer", "authority", "additional")
TELLTALE = "telltale."


def case(entry: Json) -> Json:
    """Return what `case_seen` gives if the answer to a case is right."""
    if entry.get("result") == "not-authoritative":
        return {"result": "next"}
    if "result" in entry:
        return {"result": entry["result"]}
    upstream = bool(entry.get("upstream"))
    return {
        **{field: entry[field] for field in ("rcode", "aa", "tc")},
        "rd": True,
        # Answers from upstream may carry its flag.
        **({} if upstream else {"ra": False}),
        "question": entry["qname"],
        **{section: lines(entry[section]) for section in SECTIONS},
    }


def alias_alone(entry: Json, fixture: Json) -> Json | None:
    """Return the other right answer to some aliases, or None.

    Some were recorded with a look-up of the target that fails; a running server always gets a
    reply to its own question, and then tells the alias alone (the sequences have it so).
    """
    if not entry.get("optional") or entry.get("upstream") != [] or entry.get("answer") != []:
        return None
    service, namespace = entry["qname"].lower().split(".")[:2]
    (target,) = [
        made["externalName"]
        for made in fixture["services"]
        if (made["name"], made["namespace"]) == (service, namespace)
    ]
    alias = {
        "name": entry["qname"],
        "type": "CNAME",
        "ttl": entry["config"].get("ttl", 5),
        "data": target.removesuffix(".") + ".",
    }
    return {**case(entry), "answer": lines([alias]), "authority": []}


def case_seen(entry: Json, reply: Json) -> Json:
    """Return what a reply tells, of what the case tells."""
    if any(record["name"] == TELLTALE for record in reply["additional"]):
        return {"result": "next"}
    wanted = case(entry)
    if "result" in wanted:
        return {"result": f"answered: {reply}"}
    return {field: lines(reply[field]) if field in SECTIONS else reply[field] for field in wanted}


def lines(records: list[Json]) -> list[str]:
    """Return records as sorted lines, with a star for the serial of an SOA."""
    return sorted(line(record) for record in records)


def line(record: Json, *, ttl: int | None = None) -> str:
    """Return a record as a line of a zone file; *ttl* instead of its own."""
    data = record["data"]
    if record["type"] == "SOA":
        words = data.split()
        data = " ".join([*words[:2], "*", *words[3:]])
    shown = record["ttl"] if ttl is None else ttl
    return f"{record['name']} {shown} {record['type']} {data}"


def disorder(records: list[Json]) -> list[str]:
    """Return the aliases that come after a record of their target."""
    return [
        line(alias)
        for place, alias in enumerate(records)
        if alias["type"] == "CNAME"
        and any(r["name"].lower() == alias["data"].lower() for r in records[:place])
    ]


def transfer(records: list[Json]) -> Json:
    """Return the records of a zone transfer: first, last, and between them in any order."""
    shown = [line(record) for record in records]
    return {"first": shown[:1], "last": shown[-1:], "between": sorted(shown[1:-1])}


def step_problems(
    expect: Json, reply: Json, full: Json | None, *, over_tcp: bool, late: int
) -> list[str]:
    """Return what is wrong with the reply to a step of a sequence; *full* is all that there is.

    *late* is by how many seconds the step may have come later than the recorded one.
    """
    problems = [
        f"{field}: {reply[field]!r}, not {expect[field]!r}"
        for field in ("rcode", "aa", "tc", "rd", "ra", "question", "edns")
        if field in expect and not (field == "tc" and over_tcp) and reply[field] != expect[field]
    ]
    if not over_tcp and reply["size"] > expect.get("max_size", 65535):
        problems.append(f"size: {reply['size']} > {expect['max_size']}")
    if reply["tc"]:
        problems += _strangers(reply, full) if full else ["no full answer to compare with"]
        return problems
    for section in SECTIONS:
        if section in expect:
            problems += _differences(section, expect[section], reply[section], late=late)
        elif (count := expect.get(f"{section}_count")) is not None and count != len(reply[section]):
            problems.append(f"{section}: {len(reply[section])} records, not {count}")
    problems += [f"comes after its target: {alias}" for alias in disorder(reply["answer"])]
    return problems


def _strangers(reply: Json, full: Json) -> list[str]:
    """Return the records of a truncated reply that the full one has not."""
    return [
        f"{section}: {line(record)} is not in the full answer"
        for section in SECTIONS
        for record in reply[section]
        if line(record, ttl=0) not in {line(r, ttl=0) for r in full[section]}
    ]


def _differences(section: str, wanted: list[Json], seen: list[Json], *, late: int) -> list[str]:
    missing = Counter(lines(wanted)) - Counter(lines(seen))
    extra = Counter(lines(seen)) - Counter(lines(wanted))
    for seconds in range(1, late + 1) if missing else ():
        lower = sorted(line(record, ttl=record["ttl"] - seconds) for record in wanted)
        if lower == lines(seen):
            return []
    return [
        *(f"{section}: missing {text}" for text in missing.elements()),
        *(f"{section}: unexpected {text}" for text in extra.elements()),
    ]
