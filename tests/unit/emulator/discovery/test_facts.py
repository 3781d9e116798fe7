"""What is read of an inspect, and what each event changes at once."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from podwire.emulator.discovery import facts
from podwire.emulator.discovery.facts import Attachment, Container, Event

RUNNING = Container(
    "id", "box", status="running", started=100.0, networks=(Attachment("n", "n1", IPv4Address(1)),)
)
CHECKED = replace(RUNNING, health="healthy")


def happened(action: str, detail: str = "", *, at: float = 200.0, **attributes: str) -> Event:
    network = attributes.pop("network", "")
    return Event(
        "network" if network else "container", action, detail, "id", attributes, network, at
    )


def shown(container: Container) -> str:
    address = container.networks[0].address if container.networks else None
    words = [
        container.status,
        container.health,
        "leaving" if container.leaving else "",
        "ready" if container.ready else "",
        "" if address else "no address",
    ]
    return " ".join(word for word in words if word)


@pytest.mark.parametrize(
    ("known", "event", "then"),
    [
        (RUNNING, happened("kill", signal="15"), "running leaving"),
        (RUNNING, happened("kill", signal="SIGKILL"), "running leaving"),
        (RUNNING, happened("kill", signal="1"), "running ready"),
        (RUNNING, happened("kill", signal="10"), "running ready"),
        (replace(RUNNING, stop_signal=10), happened("kill", signal="10"), "running leaving"),
        (replace(RUNNING, stop_signal=63), happened("kill", signal="SIGRTMAX-1"), "running leaving"),
        (RUNNING, happened("kill", signal="15", at=99.0), "running ready"),
        (RUNNING, happened("pause"), "paused"),
        (replace(RUNNING, status="paused"), happened("unpause"), "running ready"),
        (replace(CHECKED, status="paused"), happened("unpause"), "running starting"),
        (CHECKED, happened("health_status", "unhealthy"), "running unhealthy"),
        (replace(CHECKED, health="starting"), happened("health_status", "healthy"), "running healthy ready"),
        (RUNNING, happened("disconnect", network="n1"), "running ready no address"),
        (RUNNING, happened("disconnect", network="n2"), "running ready"),
        (RUNNING, happened("die", exitCode="3"), "exited no address"),
        (replace(RUNNING, restart_policy="always"), happened("die", exitCode="0"), "restarting no address"),
        (replace(RUNNING, restart_policy="on-failure"), happened("die", exitCode="0"), "exited no address"),
        (replace(RUNNING, restart_policy="on-failure"), happened("die", exitCode="1"), "restarting no address"),
        (
            replace(RUNNING, restart_policy="on-failure", restart_limit=2, restarts=2),
            happened("die", exitCode="1"),
            "exited no address",
        ),
        (replace(RUNNING, restart_policy="always", leaving=True), happened("die"), "exited no address"),
        (RUNNING, happened("start"), "running ready"),
    ],
)  # fmt: skip
def test_what_an_event_changes(known: Container, event: Event, then: str) -> None:
    assert shown(facts.after(known, event)) == then


@pytest.mark.parametrize(
    ("name", "then"),
    [
        ("web-1", "running healthy ready"),
        ("sick-1", "running unhealthy"),
        ("done-1", "exited no address"),
        ("crash-1", "restarting no address"),
        ("plain-1", "paused"),
        ("pair-app-1", "running ready no address"),
    ],
)
def test_what_an_engine_says(recorded: Any, name: str, then: str) -> None:
    assert shown(recorded.container(name)) == then


def test_the_rest_of_what_an_engine_says(recorded: Any) -> None:
    web, oom, pair = (recorded.container(name) for name in ("web-1", "oom-1", "pair-1"))
    assert web.stop_signal == 10
    assert web.stop_timeout == 2
    assert web.networks[0].address == IPv4Address("10.195.1.132")
    assert (oom.exit_code, oom.oom_killed) == (137, True)
    assert recorded.container("pair-app-1").joined == pair.id
    assert recorded.container("node-a-1").networks[0].fixed == IPv4Address("10.194.0.11")
    assert recorded.container("sick-1").health_output == "no luck"


def test_a_paused_container_is_not_called_unhealthy(recorded: Any) -> None:
    inspected = recorded.inspected("web-1")
    inspected["State"]["Health"] = {"Status": "unhealthy", "FailingStreak": 0, "Log": None}
    assert facts.container(inspected).health == "starting"


def test_what_is_no_event_of_a_container() -> None:
    assert facts.event({"Type": "volume", "Action": "mount", "Actor": {"ID": "x"}}) is None
    made = facts.event({"Type": "network", "Action": "create", "Actor": {"ID": "x"}})
    assert made is not None
    assert (made.container, made.network) == ("", "x")


def test_networks(recorded: Any) -> None:
    found = {one.name: [str(s) for s in one.subnets] for one in recorded.known_networks().values()}
    assert found["h2c_pods-a"] == ["10.195.1.0/24"]
    host = facts.network({"Id": "1", "Name": "host", "IPAM": {"Config": None}})
    assert host.subnets == ()
