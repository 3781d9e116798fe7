"""Pure: the words for places (POD, NAMESPACE/POD, node/NODE, external, router)."""

from dataclasses import dataclass
from typing import Literal

from podwire.errors import UsageError

HELP = "POD, NAMESPACE/POD, deploy/NAME, node/NODE, external or router"
_FORMS = "POD, NAMESPACE/POD, node/NODE, external or router"
FROM = "POD, NAMESPACE/POD, deploy/NAME, node/NODE or external"  # where a trace can begin

_HOSTS = ("external", "router")


@dataclass(frozen=True, slots=True)
class Place:
    """A pod (with its namespace) or a host: a node, `external` or `router`."""

    kind: Literal["pod", "host"]
    name: str
    namespace: str = ""

    @property
    def point(self) -> str:
        """Return the name of the capture point there."""
        if self.kind == "pod":
            return f"pod/{self.namespace}/{self.name}"
        return self.name if self.name in _HOSTS else f"node/{self.name}"

    @property
    def where(self) -> str:
        """Return the name under which traces show the place."""
        return f"{self.namespace}/{self.name}" if self.kind == "pod" else self.name


def parse(text: str, namespace: str = "default") -> Place:
    """Return the place that *text* names; raises UsageError."""
    text = text.removeprefix("pod/") if text.count("/") == 2 else text
    kind, slash, name = text.partition("/")
    if not text or (slash and (not kind or not name or "/" in name)):
        raise UsageError(f"{text!r} names no place\n  give {_FORMS}")
    if not slash:
        return Place("host", text) if text in _HOSTS else Place("pod", text, namespace)
    if kind in ("node", "nodes", "no"):
        return Place("host", name)
    if kind in ("pod", "pods", "po"):
        return Place("pod", name, namespace)
    return Place("pod", name, kind)
