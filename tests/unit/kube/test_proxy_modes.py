"""Switching a live cluster's proxies."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from podwire.kube import proxy_modes
from podwire.kube.plain import Connection
from podwire.kube.proxy_modes import configure, with_mode

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: K\nmode: userspace\nclusterCIDR: x\n", "kind: K\nmode: nftables\nclusterCIDR: x\n"),
        ('kind: K\nmode: ""\n', "kind: K\nmode: nftables\n"),
        ("kind: K\nipvs:\n  mode: none\n", "kind: K\nipvs:\n  mode: none\nmode: nftables\n"),
        ("kind: K", "kind: K\nmode: nftables\n"),
    ],
)
def test_the_mode_of_a_configuration(text: str, expected: str) -> None:
    assert with_mode(text, "nftables") == expected


class Containers:
    """An API server of a cluster of containers: a pod that was deleted is back a look later."""

    def __init__(self) -> None:
        self.modes = {"node-a": "userspace", "node-b": "userspace"}
        self.away = {"node-b": 2}  # for so many looks, since a switch just before
        self.wanted = "userspace"

    def find(self, path: str) -> Json | None:
        return None if "daemonsets" in path else {}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        del query
        if path.endswith("/nodes"):
            note = proxy_modes.MODE_ANNOTATION
            return {
                "items": [
                    {"metadata": {"name": name, "annotations": {note: mode}}}
                    for name, mode in self.modes.items()
                ]
            }
        there = [name for name in self.modes if not self.away.get(name)]
        self.away = {name: left - 1 for name, left in self.away.items() if left}
        return {
            "items": [
                {
                    "metadata": {"name": f"kube-proxy-{name}", "uid": name},
                    "spec": {"nodeName": name},
                    "status": {},
                }
                for name in there
            ]
        }

    def patch(self, path: str, change: Json) -> Json:
        del path
        self.wanted = change["data"]["config.conf"].removeprefix("mode: ")
        return {}

    def delete(self, path: str) -> None:
        name = path.rpartition("/kube-proxy-")[2]
        self.modes[name] = self.wanted
        self.away[name] = 2

    def text(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        del query
        return self.modes[path.split("/nodes/")[1].partition(":")[0]].encode()


def test_a_container_whose_pod_is_just_away_is_restarted_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy_modes, "_POLL", 0)
    cluster = Containers()
    connection = cast("Connection", cluster)
    for mode in ("nftables", "iptables", "userspace"):
        configure(connection, f"mode: {mode}", mode, limit=5)
        assert set(cluster.modes.values()) == {mode}
    assert not any(cluster.away.values())


class Looping(Containers):
    """A cluster whose new proxy has ended when one looks, and runs again when one asks for its log."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        found = super().get(path, query)
        for item in found["items"]:
            item["metadata"]["uid"] = f"{item['metadata']['name']}-{self.wanted}"
            ended = {"state": {"terminated": {"exitCode": 64}}}
            item["status"] = {"containerStatuses": [ended]} if self.wanted == "telepathy" else {}
        return found

    def delete(self, path: str) -> None:
        del path  # the new one never says its mode

    def text(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        if path.endswith("/log"):
            return b"it cannot do that: telepathy\n" if query else b""
        return super().text(path, query)


def test_a_proxy_that_was_started_again_meanwhile_has_said_why_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy_modes, "_POLL", 0)
    with pytest.raises(proxy_modes.CannotRun, match="it cannot do that: telepathy"):
        configure(cast("Connection", Looping()), "mode: telepathy", "telepathy", limit=5)
