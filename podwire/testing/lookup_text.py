"""Pure: a reply as dig prints it, a walk as a table, and both as JSON values."""

from collections.abc import Sequence
from typing import Any

from podwire.emulator.trace.dnsmessage import DnsMessage, Record, listed
from podwire.testing.lookups import NO_REPLY, Reply, Walk

Json = dict[str, Any]


def as_dig(reply: Reply) -> str:
    """Return the reply in dig's form, and from where it was asked."""
    question = reply.question
    lines = [f"; {question.name} {question.kind} from {reply.where}"]
    if reply.cut:
        lines.append(f";; truncated to {reply.cut} bytes over UDP, asked again over TCP")
    if reply.error:
        lines.append(f";; communications error to {reply.server}#{reply.port}: {reply.error}")
    if reply.message is not None:
        lines += _message(reply.message)
    elif reply.status == NO_REPLY:
        lines.append(f";; no server could be reached (asked {_times(reply.sent)})")
    about = f"   {reply.about}" if reply.about else ""
    if reply.message is not None:
        lines.append(f";; Query time: {reply.ms:.1f} msec")
    lines += [
        f";; SERVER: {reply.server}#{reply.port} ({reply.transport}){about}",
        f";; FROM: {reply.where}",
    ]
    if reply.message is not None:
        lines.append(f";; MSG SIZE  rcvd: {reply.size}")
    lines += [f";; hint: {line}" for line in reply.hint.splitlines()]
    return "\n".join(lines)


def _message(message: DnsMessage) -> list[str]:
    edns = message.edns
    sections = (
        ("ANSWER", message.answers),
        ("AUTHORITY", message.authority),
        ("ADDITIONAL", message.extra),
    )
    counts = [f"{title}: {len(records)}" for title, records in sections]
    counts[2] = f"ADDITIONAL: {len(message.extra) + (edns is not None)}"
    lines = [
        f";; ->>HEADER<<- opcode: QUERY, status: {message.rcode}, id: {message.id}",
        f";; flags: {' '.join(message.flags)}; QUERY: 1, {', '.join(counts)}",
    ]
    if edns is not None:
        flags = " do" if edns.dnssec_ok else ""
        said = f"; EDNS: version: {edns.version}, flags:{flags}; udp: {edns.size}"
        lines += ["", ";; OPT PSEUDOSECTION:", said]
    else:
        lines.append("")
    lines += [";; QUESTION SECTION:", *_columns([(f";{message.name}", "", "IN", message.kind, "")])]
    for title, records in sections:
        if records:
            lines += ["", f";; {title} SECTION:", *_columns([_cells(record) for record in records])]
    return [*lines, ""]


def _cells(record: Record) -> tuple[str, ...]:
    return (record.name, str(record.ttl), "IN", record.kind, record.value)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    widths[1] = max(widths[1], 5)
    return [
        " ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        .rstrip()
        for row in rows
    ]  # fmt: skip


def as_steps(walk: Walk) -> str:
    """Return the walk as a table: each query with its answer and what it cost."""
    rows: list[tuple[str, ...]] = [("#", "name", "type", "ms", "answer")]
    for step in walk.steps:
        number = walk.candidates.index(step.name) + 1
        for nth, reply in enumerate(step.replies):
            first = nth == 0
            rows.append(
                (
                    str(number) if first else "",
                    step.name if first else "",
                    reply.question.kind,
                    f"{reply.ms:.2f}" if reply.message is not None else "-",
                    said(reply) + ("   <-- won" if first and step.name == walk.won else ""),
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = [
        f"{row[0]:>{widths[0] + 2}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}"
        f"  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            f"{walk.name} from {walk.where}: {outcome(walk)}",
            f"  resolv.conf: {walk.resolv}",
            *table,
            f"  why: {walk.why}",
            *(f"  hint: {line}" for line in walk.hint.splitlines()),
        ]
    )


def outcome(walk: Walk) -> str:
    """Return what the walk came to, in a few words."""
    queries = "1 query" if walk.queries == 1 else f"{walk.queries} queries"
    took = f"{queries}, {walk.ms:.1f} ms"
    if not walk.has_data:
        return f"{walk.status} after {took}"
    return f"{listed(walk.values)} after {took}"


def said(reply: Reply) -> str:
    """Return what came for one query in a few words."""
    if reply.message is None:
        times = f" (asked {_times(reply.sent)})" if reply.sent > 1 else ""
        return f"{reply.error or 'no reply'}{times}"
    chain = [f"CNAME {r.value}" for r in reply.records if r.kind == "CNAME"]
    values = [r.value for r in reply.records if r.kind != "CNAME"]
    text = listed([*chain, *values] if reply.has_data else [*chain, reply.status])
    notes = [f"truncated to {reply.cut} bytes, then TCP"] if reply.cut else []
    notes += [f"asked {_times(reply.sent)}"] if reply.sent > 1 else []
    return f"{text} ({'; '.join(notes)})" if notes else text


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def as_json(found: Reply | Walk) -> Json:
    """Return a reply or a walk as JSON values."""
    if isinstance(found, Reply):
        return _reply(found)
    return {
        "name": found.name,
        "from": found.where,
        "status": found.status,
        "addresses": list(found.addresses),
        "won": found.won or None,
        "queries": found.queries,
        "wasted": found.wasted,
        "ms": found.ms,
        "nameservers": list(found.resolv.nameservers),
        "search": list(found.resolv.search),
        "ndots": found.resolv.ndots,
        "candidates": list(found.candidates),
        "why": found.why,
        "hint": found.hint or None,
        "steps": [
            {"name": step.name, "ms": step.ms, "queries": [_reply(reply) for reply in step.replies]}
            for step in found.steps
        ],
    }


def _reply(reply: Reply) -> Json:
    message = reply.message
    return {
        "question": {"name": reply.question.name, "type": reply.question.kind},
        "from": reply.where,
        "status": message.rcode if message else None,
        "flags": list(message.flags) if message else [],
        "answer": [_record(record) for record in reply.records],
        "authority": [_record(record) for record in message.authority] if message else [],
        "additional": [_record(record) for record in message.extra] if message else [],
        "server": reply.server,
        "transport": reply.transport,
        "truncated": bool(reply.cut),
        "ms": reply.ms,
        "size": reply.size,
        "sent": reply.sent,
        "error": reply.error or None,
        "hint": reply.hint or None,
    }


def _record(record: Record) -> Json:
    return {
        "name": record.name,
        "ttl": record.ttl,
        "type": record.kind,
        "value": record.value,
    }
