"""Pure: what to try next, for who asked and got nothing, or paid more than needed."""

from podwire.emulator.trace import nearest, reasons, resolve
from podwire.emulator.trace.snapshot import Snapshot
from podwire.testing.lookups import Reply, Walk

_SEES_DNS = "kubectl -n kube-system get pods -l k8s-app=kube-dns"


def of_reply(
    reply: Reply, given: str, *, pod: str, namespace: str, domain: str, objects: Snapshot | None
) -> str:
    """Return hints, one to a line, for a name that was asked as it stands.

    *given* is the name as its user wrote it, *pod* who could walk for it (or "POD"). *objects* are
    wanted if a name of the cluster does not exist (see `needs_objects`).
    """
    if reply.has_data:
        return ""
    if nearest.is_address(given):
        return f"{given} is an address; for its name: podwire dns query -x {given}"
    if reply.message is not None and _is_short(given, domain):
        return (
            f"{given} was asked as it stands, as dig does; a pod's resolver tries its search list:"
            f" podwire dns query {given} --from {pod} --walk"
        )
    return _of_objects(reply, given, namespace, domain, objects) or _of_status(reply, domain)


def of_walk(walk: Walk, *, namespace: str, domain: str, objects: Snapshot | None) -> str:
    """Return hints, one to a line, for a walk that found nothing or took long."""
    found: list[str] = []
    if not walk.has_data and walk.replies:
        # Of a walk whose name is in the cluster, what became of the last name, outside of the
        # cluster, is of no interest.
        failed = [r for r in walk.replies if r.status == "SERVFAIL"]
        last = (failed or walk.replies[-1:])[0]
        about = _of_objects(last, walk.name, namespace, domain, objects)
        nodata = _of_nodata(walk, domain)
        if nodata and not about:
            # It is no name outside of the cluster, and a shorter walk would not find more.
            return nodata
        found.append(about or _of_status(last, domain))
    found.append(advice(walk, domain))
    return "\n".join(filter(None, found))


def needs_objects(found: Reply | Walk, domain: str) -> bool:
    """Return whether a hint can be had from the cluster's objects."""
    if found.has_data:
        return False
    replies = found.replies if isinstance(found, Walk) else (found,)
    return any(
        (r.status in ("NXDOMAIN", "NODATA") and _is_below(r.question.name, domain))
        or _is_dns_away(r)
        for r in replies
    )


def advice(walk: Walk, domain: str) -> str:
    """Return how the walk could be shorter; empty if it cannot."""
    alone = f"{walk.name}."
    dots, won = walk.name.count("."), walk.won
    if not won and dots and len(walk.steps) > 1 and walk.steps[-1].name == alone:
        searched = walk.queries - sum(reply.sent for reply in walk.steps[-1].replies)
        return (
            f"{searched} of {walk.queries} queries went through the search list; for a name outside"
            f' of the cluster, "{alone}" with its dot or ndots:{dots} in dnsConfig saves them'
        )
    if not won or not walk.wasted:
        return ""
    enough = walk.queries - walk.wasted
    text = (
        f"{walk.wasted} of {walk.queries} queries asked for names that have no such record;"
        f' "{won}" with its dot takes {enough}'
    )
    if won == alone and dots < walk.resolv.ndots and not _is_below(won, domain):
        return f"{text}, and so does this name with ndots:{dots} in the pod's dnsConfig"
    first = walk.resolv.search[0] if walk.resolv.search else ""
    short = won.removesuffix(f".{first}.")
    if first and "." not in short:
        return f'{text}, and so does "{short}" in this namespace'
    return text


def _of_objects(
    reply: Reply, name: str, namespace: str, domain: str, objects: Snapshot | None
) -> str:
    """Return what the objects say: of cluster DNS if it is not there, else of *name*."""
    if objects is None:
        return ""
    if not _is_dns_away(reply):
        # What has an alias was found; the alias is what is to be told.
        return "" if reply.records else nearest.about(objects, name, namespace, domain)
    service = objects.service(reply.about)
    if service is None or resolve.endpoints_of(objects, service, None):
        return ""
    return f"{reasons.no_endpoints(objects, service)}; next: {_SEES_DNS}"


def _of_nodata(walk: Walk, domain: str) -> str:
    """Return that a name of the cluster was found, without what was looked for."""
    empty = (r for r in walk.replies if r.status == "NODATA" and not r.records)
    name = next((r.question.name for r in empty if _is_below(r.question.name, domain)), "")
    kinds = " or ".join(r.question.kind for r in walk.replies if r.question.name == name)
    return f"{name} is there, and has no record of type {kinds}" if name else ""


def _is_dns_away(reply: Reply) -> bool:
    return bool(reply.about) and reply.message is None


def _of_status(reply: Reply, domain: str) -> str:
    name = reply.question.name
    see_pods = f" its pods: {_SEES_DNS}" if reply.about else ""
    alias = next((record for record in reply.records if record.kind == "CNAME"), None)
    if alias is not None:
        return f"{alias.name} is an alias of {reply.records[-1].value}, of which nothing is known"
    match reply.status:
        case "SERVFAIL" if _is_below(name, domain):
            return f"the DNS server has not seen the cluster's objects yet.{see_pods}"
        case "SERVFAIL":
            return (
                f"{name} is not of the cluster: DNS asked its upstream, which failed or cannot be"
                " reached"
            )
        case "REFUSED":
            return f"{reply.server} does not answer for {name}, or has too much to do"
        case _ if reply.message is None:
            return f"is there a DNS server at {reply.server}, and is there a way to it?{see_pods}"
        case _:
            return ""


def _is_short(name: str, domain: str) -> bool:
    """Return whether a pod would search for *name* first (with the cluster's ndots:5)."""
    return not name.endswith(".") and not _is_below(name, domain) and name.count(".") < 5


def _is_below(name: str, domain: str) -> bool:
    whole = name.lower().rstrip(".")
    return whole == domain or whole.endswith(f".{domain}")
