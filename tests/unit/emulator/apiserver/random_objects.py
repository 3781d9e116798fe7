"""Objects that nobody would write: of the right shape mostly, with rubbish in places."""

import random
from typing import Any

from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.fields import struct
from podwire.emulator.apiserver.types.schema import Kind

Json = dict[str, Any]

_TEXTS = (
    "", "a", "web", "A_b", "x" * 300, "10.0.0.1", "::1", "80", "-1", "50%", "1Gi", "é\u0000\u202e", "/",
    "None", "ClusterIP", "TCP", "2026-01-01T00:00:00Z", "* * * * *", "a=b", "${X}", "\ud7ff", "Foreground",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 3, 80, 65536, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, 1.5, -0.0, 1e308)
_DEEPEST = 7


class Random:
    """Makes values; *rubbish* is how likely a value is of a wrong type."""

    def __init__(self, seed: int, rubbish: float = 0.02) -> None:
        self.dice = random.Random(seed)
        self._rubbish = rubbish

    def json(self, depth: int = 0) -> Any:
        """Return any JSON value."""
        dice = self.dice
        match dice.randrange(7 if depth < 3 else 5):
            case 0:
                return None
            case 1:
                return dice.random() < 0.5
            case 2:
                return dice.choice(_NUMBERS)
            case 3 | 4:
                return dice.choice(_TEXTS)
            case 5:
                return [self.json(depth + 1) for _ in range(dice.randrange(4))]
            case _:
                return {dice.choice(_TEXTS): self.json(depth + 1) for _ in range(dice.randrange(4))}

    def object(self, api_version: str, kind: str, name: str) -> Json:
        """Return an object of a built-in kind."""
        type_ = schema.type_of(api_version, kind)
        assert type_ is not None, (api_version, kind)
        made = {**self._struct(type_.name, 0), "apiVersion": api_version, "kind": kind}
        if self.dice.random() < 0.9:
            meta = struct(made, "metadata") if self.dice.random() < 0.5 else {}
            for field in ("namespace", "uid", "resourceVersion"):
                meta.pop(field, None)
            made["metadata"] = {**meta, "name": name}
        return made

    def _struct(self, name: str, depth: int) -> Json:
        made: Json = {}
        for field in schema.struct(name).fields.values():
            likely = 0.75 if field.required else 0.35 if depth < 3 else 0.15
            if self.dice.random() < likely:
                made[field.name] = self._value(field.kind, depth + 1)
        return made

    def _value(self, kind: Kind, depth: int) -> Any:
        dice = self.dice
        if dice.random() < self._rubbish or depth > _DEEPEST:
            return self.json(1)
        match kind.shape:
            case "struct":
                return self._struct(kind.name, depth)
            case "list":
                return [self._value(kind.of, depth) for _ in range(dice.randrange(3))]
            case "map":
                keys = (dice.choice(_TEXTS) for _ in range(dice.randrange(3)))
                return {key: self._value(kind.of, depth) for key in keys}
            case "special":
                return dice.choice([self.json(2), dice.choice(_TEXTS), dice.choice(_NUMBERS)])
            case "scalar":
                return self._scalar(kind.name)

    def _scalar(self, name: str) -> Any:
        if name == "bool":
            return self.dice.random() < 0.5
        if name in ("string", "bytes"):
            return self.dice.choice(_TEXTS)
        return self.dice.choice(_NUMBERS[:5])
