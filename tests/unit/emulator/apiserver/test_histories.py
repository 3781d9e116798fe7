"""Random histories of one object, each told to a simple model of ownership as well."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.patches.patch import strategic_merge_patch
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.histories import CONFIG, SERVICE, Kind

Json = dict[str, Any]

MANAGERS = ("alice", "bob", "carol")
MAP = f"{CONFIG[2]}/x"
SEEDS = range(12)


@dataclass
class Model:
    """The data of a ConfigMap, and which manager owns which key (`alice/Apply`)."""

    data: dict[str, str] = field(default_factory=dict[str, str])
    owns: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def contested(self, who: str, config: dict[str, str]) -> set[tuple[str, str]]:
        """Return the owners that an apply would rob, and of what."""
        changed = {k for k, v in config.items() if self.data.get(k) != v}
        return {(o, k) for o, keys in self.owns.items() if o != who for k in keys & changed}

    def apply(self, who: str, config: dict[str, str]) -> None:
        """Apply, by force."""
        before = self.owns.pop(who, set[str]())
        for owner, key in self.contested(who, config):
            self.owns[owner].discard(key)
        others = set[str]().union(*self.owns.values())
        for key in before - set(config) - others:
            del self.data[key]
        self.data |= config
        self.owns[who] = set(config)

    def update(self, who: str, changes: dict[str, str | None]) -> None:
        """Write what *changes* says; None removes."""
        for key, value in changes.items():
            if self.data.get(key) == value:
                continue
            for keys in self.owns.values():
                keys.discard(key)
            if value is None:
                del self.data[key]
            else:
                self.data[key] = value
                self.owns.setdefault(who, set()).add(key)

    def shown(self) -> dict[str, set[str]]:
        """Return the owners that own something."""
        return {owner: keys for owner, keys in self.owns.items() if keys}


def keys_owned(obj: Json) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in obj["metadata"].get("managedFields", []):
        keys = {path[1][2:] for path in fieldset.paths(entry["fieldsV1"]) if len(path) == 2}
        if keys:
            found[f"{entry['manager']}/{entry['operation']}"] = keys
    return found


def config_map(data: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}


@pytest.mark.parametrize("seed", SEEDS)
def test_owners_are_those_of_the_model(server: SilentServer, seed: int) -> None:
    dice = random.Random(seed)
    watching = server.watch(f"{CONFIG[2]}?watch=1&resourceVersion={server.api.store.revision}")
    model = Model()
    first = {"a": "0"}
    server.must(f"POST {CONFIG[2]}?fieldManager=carol", config_map(first))
    model.update("carol/Update", dict(first))
    for _ in range(60):
        server.clock.advance(dice.choice((0, 1, 5)))
        who = dice.choice(MANAGERS)
        wish = {key: dice.choice("012") for key in dice.sample("abcde", dice.randrange(4))}
        before = server.get(MAP)
        if dice.random() < 0.6:
            force = dice.random() < 0.5
            url = f"PATCH {MAP}?fieldManager={who}&force={str(force).lower()}"
            code, answer = server.ask(url, config_map(wish), patch="apply")
            contested = model.contested(f"{who}/Apply", wish)
            if contested and not force:
                assert code == 409
                causes = {
                    (cause["message"].split('"')[1], cause["field"])
                    for cause in answer["details"]["causes"]
                }
                assert causes == {(o.partition("/")[0], f".data.{k}") for o, k in contested}
                assert server.get(MAP) == before
                continue
            assert code == 200
            model.apply(f"{who}/Apply", wish)
            assert server.must(url, config_map(wish), patch="apply") == answer
        else:
            changes: dict[str, str | None] = dict(wish)
            changes |= {key: None for key in dice.sample("abcde", 1) if key in model.data}
            server.must(f"PATCH {MAP}?fieldManager={who}", {"data": changes}, patch="merge")
            model.update(f"{who}/Update", changes)
        now = server.get(MAP)
        assert now.get("data", {}) == model.data
        assert keys_owned(now) == model.shown()
    states: dict[str, Json] = {}
    for event in watching.events():
        assert event["type"] in ("ADDED", "MODIFIED")
        states[event["object"]["metadata"]["name"]] = event["object"]
    assert states["x"] == server.get(MAP)


def ports_of(dice: random.Random) -> list[Json]:
    ports = dice.sample((80, 81, 443, 8080), dice.randrange(1, 4))
    return [
        {
            "port": port,
            "name": f"n{port}",
            **({"targetPort": dice.randrange(1, 3)} if target else {}),
        }
        for port in ports
        for target in [dice.random() < 0.5]
    ]


def exists(value: Any, path: fieldset.Path) -> bool:
    """Tell whether *path* leads somewhere in *value*."""
    for element in path:
        if element.startswith("f:"):
            members: Json = value
            if element[2:] not in members:
                return False
            value = members[element[2:]]
        else:
            items: list[Json] = value
            shown = [fieldset.item({k: item[k] for k in ("port", "protocol")}) for item in items]
            if element not in shown:
                return False
            value = items[shown.index(element)]
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_owned_is_there_and_what_is_said_is_owned(server: SilentServer, seed: int) -> None:
    dice = random.Random(seed)
    url = f"{SERVICE[2]}/x"
    for _ in range(50):
        server.clock.advance(1)
        who = dice.choice(MANAGERS)
        spec: Json = {"selector": {"app": dice.choice("xy")}, "ports": ports_of(dice)}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "x"},
            "spec": spec,
        }
        line = f"PATCH {url}?fieldManager={who}&force=true"
        code, answer = server.ask(line, body, patch="apply")
        assert code in (200, 201), answer
        wanted = {port["port"]: port for port in spec["ports"]}
        found = {port["port"]: port for port in answer["spec"]["ports"]}
        assert all(found[p].items() >= wanted[p].items() for p in wanted)
        entry = next(e for e in answer["metadata"]["managedFields"] if e["manager"] == who)
        owned = {path[2] for path in fieldset.paths(entry["fieldsV1"]) if len(path) == 3}
        assert owned == {fieldset.item({"port": p, "protocol": "TCP"}) for p in wanted}
        for entry in answer["metadata"]["managedFields"]:
            assert all(exists(answer, path) for path in fieldset.paths(entry["fieldsV1"])), entry
        assert server.must(line, body, patch="apply") == answer


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [CONFIG, SERVICE])
def test_a_strategic_patch_by_the_object_itself_changes_nothing(seed: int, kind: Kind) -> None:
    dice = random.Random(seed)
    doc: Json = {
        "metadata": {"name": "x", "finalizers": dice.sample("abc", 2), "labels": {"a": "b"}},
        "spec": {"ports": ports_of(dice)},
    }
    patch: Json = {"metadata": {"finalizers": ["a"]}, "spec": {"ports": ports_of(dice)}}

    def patched(obj: Json, changes: Json) -> Json:
        return strategic_merge_patch(obj, changes, kind[0], kind[1])

    assert patched(doc, {}) == doc
    assert patched(doc, doc) == doc
    once = patched(doc, patch)
    assert patched(once, patch) == once
