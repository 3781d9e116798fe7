"""What managers do to one object, written as people say it: `alice applies data: {a: '1'}`."""

from typing import Any

import yaml

from podwire.emulator.apiserver.apply import fieldset
from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

CONFIG = ("v1", "ConfigMap", "/api/v1/namespaces/default/configmaps")
SERVICE = ("v1", "Service", "/api/v1/namespaces/default/services")
DEPLOYMENT = ("apps/v1", "Deployment", "/apis/apps/v1/namespaces/default/deployments")

Kind = tuple[str, str, str]


def act(server: SilentServer, kind: Kind, line: str) -> tuple[int, Json]:
    """Do what *line* says to the object `x`; return the answer."""
    who, verb, text = line.split(" ", 2)
    api_version, name, path = kind
    said: Json = yaml.safe_load(text) or {}
    body = {"apiVersion": api_version, "kind": name, **said}
    body["metadata"] = {"name": "x", **said.get("metadata", {})}
    query = f"fieldManager={who}"
    match verb:
        case "applies":
            return server.ask(f"PATCH {path}/x?{query}", body, patch="apply")
        case "forces":
            return server.ask(f"PATCH {path}/x?{query}&force=true", body, patch="apply")
        case "patches":
            return server.ask(f"PATCH {path}/x?{query}", said, patch="merge")
        case "replaces":
            return server.ask(f"PUT {path}/x?{query}", body)
        case "reports":
            return server.ask(f"PATCH {path}/x/status?{query}", said, patch="merge")
        case "creates":
            return server.ask(f"POST {path}?{query}", body)
        case _:
            raise AssertionError(line)


def play(server: SilentServer, kind: Kind, *lines: str) -> Json:
    """Do what *lines* say, one after the other; all must succeed. Return the object."""
    document: Json = {}
    for line in lines:
        server.clock.advance(1)
        code, document = act(server, kind, line)
        assert code < 300, (line, document)
    return document


def refused(server: SilentServer, kind: Kind, line: str) -> str:
    """Return `CODE message` of what must be refused."""
    code, document = act(server, kind, line)
    assert code >= 400, document
    return f"{code} {document['message']}"


def owners(obj: Json) -> dict[str, str]:
    """Return who owns which paths, as `{"alice": ".data.a .data.b"}`."""
    found: dict[str, str] = {}
    for entry in obj["metadata"].get("managedFields", []):
        paths = map(fieldset.shown, fieldset.paths(entry["fieldsV1"]))
        found[entry["manager"]] = " ".join(sorted(paths))
    return found
