"""Exec, attach, logs and capture: check the request, ask the agent, relay. No HTTP library here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.agent import AgentError, NodeAgent, PodPlace, Session, Tcp
from podwire.emulator.apiserver.request import Api, Request
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.streams import capturing, containers, streams
from podwire.emulator.apiserver.streams.channels import Socket
from podwire.emulator.apiserver.streams.portforward import Target
from podwire.emulator.apiserver.streams.streams import Client, Wanted
from podwire.emulator.apiserver.types.fields import struct, text

Json = dict[str, Any]
Accept = Callable[[Wanted], Awaitable[Client | None]]
"""Switches the connection to another protocol; None if the client leaves while it does.

Errors found before it become HTTP answers.
"""

_SNAPLEN = 262_144
_LONGEST_SNAPLEN = 262_144
_MOST_PORTS = 100  # each has two of 256 channels


async def exec_(api: Api, agent: NodeAgent, request: Request, accept: Accept) -> None:
    """Run a command in a container, or (subresource attach) join its first process."""
    pod = _pod(api, request).object
    containers.check_assigned(pod)
    container = containers.chosen(pod, request.option("container"))
    wanted = wanted_streams(request)
    namespace, name = request.key.namespace, request.key.name
    if request.subresource == "attach":
        wanted = replace(wanted, exit_code=False)

        async def start() -> Session:
            return await agent.attach(
                namespace, name, container, stdin=wanted.stdin, tty=wanted.tty
            )
    else:
        command = command_of(request)

        async def start() -> Session:
            return await agent.exec(
                namespace,
                name,
                container,
                command,
                stdin=wanted.stdin,
                stdout=wanted.stdout,
                stderr=wanted.stderr,
                tty=wanted.tty,
            )

    await _run(await accept(wanted), start, wanted)


async def exec_host(agent: NodeAgent, request: Request, accept: Accept) -> None:
    """Run a command on a machine that is no pod."""
    if request.name not in [host.name for host in agent.hosts()]:
        raise statuses.not_found(request.resource, request.name)
    wanted, command = wanted_streams(request), command_of(request)

    async def start() -> Session:
        return await agent.exec_host(request.name, command, stdin=wanted.stdin, tty=wanted.tty)

    await _run(await accept(wanted), start, wanted)


async def forward(
    api: Api,
    agent: NodeAgent,
    request: Request,
    accept: Callable[[Target, Sequence[int]], Awaitable[None]],
) -> None:
    """Forward connections to ports of a pod; *accept* switches the connection, and does it."""
    pod = _pod(api, request).object
    containers.check_assigned(pod)
    ports = forwarded_ports(request)
    place = place_of(pod)

    async def connect(port: int) -> Tcp:
        return await agent.connect(place, port)

    await accept(Target(connect, place.name, pod["metadata"]["uid"]), ports)


async def capture(
    agent: NodeAgent, request: Request, accept: Callable[[], Awaitable[Socket]]
) -> None:
    """Stream pcapng from the points asked for.

    The client's first text frame starts the capture: `{}`, or `{"filter": [[code, jt, jf, k],
    ...]}`. The text frame `started` answers when no packet is missed any more; then come binary
    frames. The client's text frame `stop` ends it in good order: the rest and the statistics
    follow, then the server closes (1000). A capture that cannot start ends with a text frame that
    holds a Status.
    """
    points = list(request.query.get("point", ()))
    known = {point.where for point in agent.capture_points()}
    if not points:
        raise statuses.bad_request(f"point is required; there are: {', '.join(sorted(known))}")
    for point in points:
        if point not in known:
            message = f"capture point {point!r} not found; there are: {', '.join(sorted(known))}"
            raise statuses.refused(404, "NotFound", message)
    snaplen = request.number("snaplen") or _SNAPLEN
    if not 0 < snaplen <= _LONGEST_SNAPLEN:
        raise statuses.bad_request(f"snaplen must be between 1 and {_LONGEST_SNAPLEN}")
    socket = await accept()
    start = await capturing.read_start(socket)
    if start is None:
        await socket.close()
        return
    try:
        reader, writer = await agent.capture(
            points, snaplen=snaplen, filter_=capturing.as_filter(start)
        )
    except AgentError as error:
        await socket.send(statuses_text(error))
        await socket.close()
        return
    await socket.send("started")
    await capturing.relay_capture(socket, reader, writer)


class LogPieces:
    """A container's log as it comes, at most *limit* bytes of it."""

    def __init__(self, pieces: AsyncIterator[bytes], limit: int | None) -> None:
        self._pieces = pieces
        self._left = limit

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left is not None and self._left <= 0:
            raise StopAsyncIteration
        piece = await anext(self._pieces)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece


def logs(api: Api, agent: NodeAgent, request: Request) -> LogPieces | None:
    """Return a container's log in pieces, None for a pod that cannot have one yet."""
    pod = _pod(api, request).object
    container = containers.chosen(pod, request.option("container"))
    options = containers.log_options(request)
    if not containers.has_log(pod):
        return None
    containers.check_log(pod, container, previous=options.previous)
    pieces = agent.logs(request.namespace, request.name, container, options)
    return LogPieces(pieces, options.limit_bytes)


def hosts(agent: NodeAgent) -> Json:
    """Return the machines on which commands can be run."""
    return _own_list("Host", [{"name": host.name, "kind": host.kind} for host in agent.hosts()])


def capture_points(agent: NodeAgent) -> Json:
    """Return where packets can be captured."""
    return _own_list(
        "CapturePoint",
        [
            {
                "where": point.where,
                "kind": point.kind,
                "netns": point.netns,
                "interfaces": list(point.interfaces),
            }
            for point in agent.capture_points()
        ],
    )


def wanted_streams(request: Request) -> Wanted:
    """Return which streams the query names; raises Refused if it names none."""
    tty = request.flag("tty")
    wanted = Wanted(
        stdin=request.flag("stdin"),
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr") and not tty,
        tty=tty,
    )
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise statuses.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return wanted


def command_of(request: Request) -> list[str]:
    """Return the command of the query; raises Refused if there is none."""
    command = list(request.query.get("command", ()))
    if not command:
        raise statuses.bad_request("you must specify at least 1 command")
    return command


def forwarded_ports(request: Request) -> list[int]:
    """Return the ports of the query, which only plain WebSockets need; raises Refused (400)."""
    ports: list[int] = []
    for word in (word for value in request.query.get("ports", ()) for word in value.split(",")):
        if not (word.isascii() and word.isdigit() and 0 < int(word[:6]) < 65536):
            raise statuses.bad_request(f'unable to parse "{word}" as a port')
        ports.append(int(word))
    if len(ports) > _MOST_PORTS:
        raise statuses.bad_request(f"at most {_MOST_PORTS} ports can be forwarded at once")
    return ports


def place_of(pod: Json) -> PodPlace:
    """Return where a pod is."""
    meta = pod["metadata"]
    return PodPlace(
        meta["namespace"],
        meta["name"],
        text(struct(pod, "spec"), "nodeName"),
        text(struct(pod, "status"), "podIP"),
    )


def refused(error: AgentError) -> statuses.Refused:
    """Return an agent's error as the API server says it."""
    if error.reason == "InternalError":
        return statuses.internal(error.message)
    return statuses.refused(error.code, error.reason, error.message)


def statuses_text(error: AgentError) -> str:
    """Return an agent's error as the text of a Status."""
    return capturing.json_text(refused(error).status)


async def _run(
    client: Client | None, start: Callable[[], Awaitable[Session]], wanted: Wanted
) -> None:
    # Started after the upgrade: kubectl answers a refused upgrade by trying SPDY, and would then
    # show that error and not this one.
    if client is None:
        return
    try:
        session = await start()
    except AgentError as error:
        await client.finish(refused(error).status)
        await streams.until_gone(client)
        return
    await streams.run(client, session, wanted)


def _pod(api: Api, request: Request) -> Stored:
    stored = api.store.get(request.resource.collection, request.key)
    if stored is None:
        raise statuses.not_found(request.resource, request.name)
    return stored


def _own_list(kind: str, items: list[Json]) -> Json:
    return {"kind": f"{kind}List", "apiVersion": "podwire.dev/v1", "items": items}
