"""Pure: what the engine says of a container, parsed once, and what an event changes in it."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

from podwire.emulator.engine.signals import signal_number
from podwire.kube.times import parse_rfc3339, rfc3339

Json = Mapping[str, Any]

Status = Literal["created", "running", "paused", "restarting", "exited"]
Health = Literal["", "starting", "healthy", "unhealthy"]

# The engine's way to say never (Go's zero time).
_NEVER = "0001-01-01T00:00:00Z"
_ENDING = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT})
_STATUSES: Mapping[str, Status] = {
    "created": "created",
    "running": "running",
    "paused": "paused",
    "restarting": "restarting",
}
_HEALTHS: Mapping[str, Health] = {
    "starting": "starting",
    "healthy": "healthy",
    "unhealthy": "unhealthy",
}


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the engine."""

    id: str
    name: str
    subnets: tuple[IPv4Network, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container on a network; *network_id* and *address* are empty until it is started."""

    network: str
    network_id: str = ""
    address: IPv4Address | None = None
    # The address that it always gets, if its maker chose one.
    fixed: IPv4Address | None = None
    # Of its interface there; tells it apart in captures. Empty until it is started.
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is now; times are seconds since 1970, 0 for never."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str = ""
    image_id: str = ""
    created: float = 0.0
    status: Status = "created"
    health: Health = ""
    # What the last health check printed; None: not asked yet.
    health_output: str | None = ""
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    # Why the engine could not start it.
    error: str = ""
    restarts: int = 0
    # no, on-failure, always or unless-stopped; how often at most, 0 for ever.
    restart_policy: str = "no"
    restart_limit: int = 0
    networks: tuple[Attachment, ...] = ()
    # The container, by id or name, whose network it shares.
    joined: str = ""
    stop_signal: int = signal.SIGTERM
    # Seconds between that signal and SIGKILL.
    stop_timeout: int = 10
    # It was sent a signal that ends it, and has not ended yet.
    leaving: bool = False

    @property
    def up(self) -> bool:
        """Tell whether its processes run and are meant to go on."""
        return self.status == "running" and not self.leaving

    @property
    def has_processes(self) -> bool:
        """Tell whether it has processes, running or frozen, and so a network of its own."""
        return self.status in ("running", "paused")

    @property
    def ready(self) -> bool:
        """Tell whether it runs, and well as far as its health check says."""
        return self.up and self.health in ("", "healthy")

    @property
    def ended(self) -> bool:
        """Tell whether it has run, and the engine leaves it at that."""
        return self.status == "exited"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a container; *detail* is what follows the colon of the action."""

    kind: Literal["container", "network"]
    action: str
    detail: str
    # Empty for networks that come and go.
    container: str
    attributes: Mapping[str, str]
    # The network, for connect and disconnect.
    network: str = ""
    at: float = 0.0


def container(inspected: Json) -> Container:
    """Return what GET /containers/ID/json tells."""
    state, config, host = inspected["State"], inspected["Config"], inspected["HostConfig"]
    health: Json = state.get("Health") or {}
    mode = str(host.get("NetworkMode") or "")
    policy: Json = host.get("RestartPolicy") or {}
    networks: Mapping[str, Json] = inspected["NetworkSettings"].get("Networks") or {}
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].removeprefix("/"),
        labels=config.get("Labels") or {},
        image=config.get("Image") or "",
        image_id=inspected.get("Image") or "",
        created=_seconds(inspected.get("Created")),
        # dead and removing have ended as well.
        status=_STATUSES.get(state["Status"], "exited"),
        health=_health(health),
        health_output=_last_output(health),
        started=_seconds(state.get("StartedAt")),
        finished=_seconds(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        restarts=int(inspected.get("RestartCount") or 0),
        restart_policy=policy.get("Name") or "no",
        restart_limit=int(policy.get("MaximumRetryCount") or 0),
        networks=tuple(_attachment(name, found or {}) for name, found in sorted(networks.items())),
        joined=mode.removeprefix("container:") if mode.startswith("container:") else "",
        stop_signal=signal_number(config.get("StopSignal") or "") or signal.SIGTERM,
        stop_timeout=10 if config.get("StopTimeout") is None else int(config["StopTimeout"]),
    )


def network(listed: Json) -> Network:
    """Return what an entry of GET /networks tells; ranges of IPv6 are left out."""
    ipam: Json = listed.get("IPAM") or {}
    ranges: list[Json] = ipam.get("Config") or []
    texts = [str(one.get("Subnet") or "") for one in ranges]
    subnets = (IPv4Network(text, strict=False) for text in texts if text and ":" not in text)
    return Network(listed["Id"], listed["Name"], tuple(subnets))


def event(value: Json) -> Event | None:
    """Return what a line of GET /events tells, None if it is about something else."""
    actor: Json = value.get("Actor") or {}
    attributes: Mapping[str, str] = actor.get("Attributes") or {}
    action, _, detail = str(value.get("Action") or "").partition(":")
    at = int(value.get("timeNano") or 0) / 1e9
    match value.get("Type"):
        case "container":
            return Event("container", action, detail.strip(), actor["ID"], attributes, at=at)
        case "network":
            about = attributes.get("container", "")
            return Event("network", action, detail, about, attributes, actor["ID"], at)
        case _:
            return None


def after(known: Container, event: Event) -> Container:
    """Return what *known* is after *event*, as far as the event itself tells.

    This is what makes us fast: the engine is asked only afterwards.
    """
    if event.at < known.started:
        return known  # an old story, told again when we came back
    match event.action:
        case "kill" if ends(known, event):
            return told_to_end(known)
        case "pause":
            return replace(known, status="paused")
        case "unpause":
            # The engine forgets the health of what it pauses, and does not say so in an event.
            return replace(known, status="running", health="starting" if known.health else "")
        case "health_status":
            health = _HEALTHS.get(event.detail, known.health)
            return replace(known, health=health, health_output=None)
        case "disconnect":
            # Also when its process has crashed: some 10 ms before the engine says "die".
            return replace(
                known,
                networks=tuple(
                    replace(one, address=None) if one.network_id == event.network else one
                    for one in known.networks
                ),
            )
        case "die":
            return _died(known, event)
        case _:
            return known


def told_to_end(known: Container) -> Container:
    """Return *known* after a signal that should end it."""
    return replace(known, leaving=known.has_processes)


def ends(known: Container, event: Event) -> bool:
    """Tell whether *event* is a signal that should end the container."""
    if event.action != "kill":
        return False
    number = signal_number(event.attributes.get("signal", ""))
    return number in _ENDING or number == known.stop_signal


def _died(known: Container, event: Event) -> Container:
    text = event.attributes.get("exitCode", "")
    code = int(text) if text.isdecimal() else 0
    return replace(
        known,
        status="restarting" if _restarts(known, code) else "exited",
        exit_code=code,
        finished=event.at,
        leaving=False,
        networks=tuple(replace(one, address=None) for one in known.networks),
    )


def _restarts(known: Container, code: int) -> bool:
    """Guess whether the engine starts it again; its own word follows with the next inspect."""
    if known.leaving or known.restart_policy == "no":
        return False
    if known.restart_policy == "on-failure":
        return code != 0 and (not known.restart_limit or known.restarts < known.restart_limit)
    return True


def _health(health: Json) -> Health:
    known = _HEALTHS.get(health.get("Status", ""), "")
    # The engine calls "unhealthy" what it has paused, until the next check: nothing has failed yet.
    return "starting" if known == "unhealthy" and not health.get("FailingStreak") else known


def _attachment(name: str, found: Json) -> Attachment:
    config: Json = found.get("IPAMConfig") or {}
    return Attachment(
        name,
        found.get("NetworkID") or "",
        _address(found.get("IPAddress")),
        _address(config.get("IPv4Address")),
        str(found.get("MacAddress") or ""),
    )


def _address(text: str | None) -> IPv4Address | None:
    return IPv4Address(text) if text else None


def _seconds(text: str | None) -> float:
    return parse_rfc3339(text) if text and text != _NEVER else 0.0


def _last_output(health: Json) -> str:
    log: list[Json] = health.get("Log") or []
    return str(log[-1].get("Output") or "").strip() if log else ""


def moment(seconds: float) -> str:
    """Return a time as objects hold it; empty for never."""
    return rfc3339(seconds) if seconds else ""
