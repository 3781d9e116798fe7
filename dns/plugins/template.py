"""template: records made from the name that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.kinds import CLASSES, kind_of, rcode_of
from podwire.dns.messages.message import CLASS_IN, Kind, Question, Rcode, Record, Reply, kind_name
from podwire.dns.messages.names import longest_match
from podwire.dns.messages.zone_line import record_of
from podwire.dns.parts.go_template import Facts, FillingError, GoTemplate
from podwire.dns.parts.patterns import Pattern, pattern
from podwire.dns.serving.metrics import Counter, Counters, Metrics
from podwire.dns.site import Lookup, Site

FIELDS: Final = ("Zone", "Name", "Regex", "Match", "Group", "Class", "Type", "Remote")
SECTIONS: Final = ("answer", "additional", "authority")

MATCHES: Final = Counters(
    "coredns_template_matches_total",
    "Counter of template regex matches.",
    ("server", "zone", "view", "class", "type"),
)

_NAMED: Final = frozenset(Kind)


@dataclass(slots=True, kw_only=True)
class Template:
    """One stanza: which questions it answers, and with what."""

    zones: tuple[str, ...]
    klass: int
    kind: int
    patterns: list[Pattern] = field(default_factory=list[Pattern])
    texts: dict[str, list[GoTemplate]] = field(default_factory=dict[str, list[GoTemplate]])
    rcode: int = Rcode.NOERROR
    fallthrough: tuple[str, ...] = ()

    @property
    def is_for_all_clients(self) -> bool:
        """Return whether everybody gets the same answer."""
        return not any("Remote" in one.fields for texts in self.texts.values() for one in texts)

    def facts(self, question: Question, client: str) -> Facts | None:
        """Return what the templates may name, or None: the question is not for this one.

        The name decides by the first pattern that it fits.
        """
        name = question.name.lower()
        for one in self.patterns:
            found = one.search(name)
            if found is None:
                continue
            match = [found[0] or "", *(text or "" for text in found.groups())]
            groups = {str(number): text for number, text in enumerate(match)}
            groups |= {key: text or "" for key, text in found.groupdict().items()}
            kind = self.kind if question.kind == Kind.ANY else question.kind
            return {
                "Zone": longest_match(name, self.zones) or "",
                "Name": name,
                "Regex": one.pattern,
                "Match": match,
                "Group": groups,
                "Class": "IN",
                "Type": kind_name(kind),
                "Remote": client,
            }
        return None

    def is_for(self, question: Question) -> bool:
        """Return whether zone, class and type fit."""
        return (
            longest_match(question.name, self.zones) is not None
            and self.klass in (CLASS_IN, CLASSES["ANY"])
            and (self.kind == question.kind or Kind.ANY in (self.kind, question.kind))
        )


def setup(stanzas: Sequence[Stanza], site: Site) -> Plugin:
    """Return the plugin: ``template CLASS TYPE [ZONES...] { match; answer; rcode; ... }``."""
    templates = [parse(stanza) for stanza in stanzas]
    return Templates(templates, site.lookup, site.process.metrics, site.server)


def parse(stanza: Stanza) -> Template:
    """Return what one stanza says. Raises CorefileError."""
    klass, kind_text, *zones = stanza.arguments_of(least=2)
    kind = kind_of(kind_text)
    if klass not in CLASSES:
        raise stanza.error(f"invalid query class {klass}; known are: {', '.join(CLASSES)}")
    if kind is None:
        raise stanza.error(f"invalid RR class {kind_text}")
    made = Template(zones=stanza.zones_or_block(zones), klass=CLASSES[klass], kind=kind)

    def match(line: Line) -> None:
        for text in stanza.arguments_of(line, least=1):
            try:
                made.patterns.append(pattern(text))
            except ValueError as error:
                raise stanza.error(f"could not parse regex: {text}, {error}", line) from None

    def section(line: Line) -> None:
        for text in stanza.arguments_of(line, least=1):
            try:
                read = GoTemplate(text, FIELDS)
            except ValueError as error:
                raise stanza.error(f"could not compile template: {text}, {error}", line) from None
            made.texts.setdefault(line.words[0], []).append(read)

    def rcode(line: Line) -> None:
        text, *_ = stanza.arguments_of(line, least=1)
        code = rcode_of(text)
        if code is None:
            raise stanza.error(f"unknown rcode {text}", line)
        made.rcode = code

    def fallthrough(line: Line) -> None:
        made.fallthrough = stanza.fallthrough(line)

    def upstream(line: Line) -> None:
        del line  # Says nothing any more; accepted for old Corefiles.

    known: dict[str, Callable[[Line], None]] = {
        "match": match,
        **dict.fromkeys(SECTIONS, section),
        "rcode": rcode,
        "fallthrough": fallthrough,
        "upstream": upstream,
    }
    for missing in ("ederror", "var", "expr"):
        known[missing] = _missing(stanza)
    stanza.options(known)
    if not made.patterns:
        made.patterns.append(pattern(".*"))
    return made


class Templates(Plugin):
    """Answers with the first template that a question is for."""

    name = "template"

    def __init__(
        self, templates: Sequence[Template], lookup: Lookup, metrics: Metrics, server: str
    ) -> None:
        self._templates = tuple(templates)
        self._lookup = lookup
        self._metrics = metrics
        self._server = server

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer what a template is for; SERVFAIL where no pattern fits and none falls through."""
        question = request.query.question
        for template in self._templates:
            if not template.is_for(question):
                continue
            facts = template.facts(question, request.client[0])
            if facts is not None:
                matches = self._matches(facts, question.kind)
                matches.value += 1
                return await self._answer(template, facts, request, matches)
            if longest_match(question.name, template.fallthrough) is None:
                return Reply(rcode=Rcode.SERVFAIL, lasting=True)
        return await rest(request)

    async def _answer(
        self, template: Template, facts: Facts, request: Request, matches: Counter
    ) -> Reply:
        def counted(times: int) -> None:
            matches.value += times

        if template.rcode == Rcode.SERVFAIL:
            return Reply(rcode=Rcode.SERVFAIL, lasting=True, counted=counted)
        try:
            answer, additional, authority = (
                tuple(_records(template.texts.get(section, ()), facts)) for section in SECTIONS
            )
        except (FillingError, ValueError) as error:
            return Reply(rcode=Rcode.SERVFAIL, error=f"plugin/template: {error}")
        reply = Reply(
            rcode=template.rcode,
            authoritative=True,
            answer=answer,
            authority=authority,
            additional=additional,
            lasting=template.is_for_all_clients,
            by=self.name,
            counted=counted,
        )
        return await with_targets(reply, request, self._lookup)

    def _matches(self, facts: Facts, kind: int) -> Counter:
        # As CoreDNS; and a stranger could make 65,000 series of types that have no name.
        name = kind_name(kind) if kind in _NAMED else ""
        type_ = str(facts["Type"]) if kind == Kind.ANY else name
        zone, klass = str(facts["Zone"]), str(facts["Class"])
        return self._metrics.counter(MATCHES, self._server, zone, "", klass, type_)


async def with_targets(reply: Reply, request: Request, lookup: Lookup) -> Reply:
    """Return *reply* with the addresses that its aliases lead to, if it is asked for addresses."""
    kind = request.query.question.kind
    if kind not in (Kind.A, Kind.AAAA) or all(r.kind != Kind.CNAME for r in reply.answer):
        return reply
    answer: list[Record] = []
    truncated = reply.truncated
    for record in reply.answer:
        answer.append(record)
        if record.kind == Kind.CNAME and isinstance(record.data, str):
            target = await lookup(Question(record.data, kind), request)
            truncated = target.truncated
            answer += target.answer
    return Reply(
        rcode=reply.rcode,
        authoritative=reply.authoritative,
        truncated=truncated,
        answer=tuple(answer),
        authority=reply.authority,
        additional=reply.additional,
        by=reply.by,
    )


def _records(texts: Iterable[GoTemplate], facts: Facts) -> Iterable[Record]:
    return (record_of(text.fill(facts)) for text in texts)


def _missing(stanza: Stanza) -> Callable[[Line], None]:
    def refuse(line: Line) -> None:
        raise stanza.error(f"{line.words[0]} of the template plugin is not there", line)

    return refuse
