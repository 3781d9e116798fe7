"""Programs that others wrote for Kubernetes, run unchanged: a kopf operator."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster
from tests.needs import lack
from tests.system.until import items, until, until_gone

Json = dict[str, Any]

# kopf's EphemeralVolumeClaim of its documentation, with a ConfigMap where there it is a claim: it
# makes a child, follows changes of the spec and of labels, and is asked before the end.
OPERATOR = """
import kopf
import kubernetes


@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = True


@kopf.on.create("PLURAL")
def create_fn(body, spec, name, namespace, logger, **_):
    size = spec.get("size")
    if not size:
        raise kopf.PermanentError(f"Size must be set. Got {size!r}.")
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"size": size},
    }
    kopf.adopt(child)
    made = kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Made", message=f"the map {name} is made")
    return {"map-name": made.metadata.name}


@kopf.on.update("PLURAL", field="spec.size")
def update_fn(spec, status, namespace, new, **_):
    name = status["create_fn"]["map-name"]
    change = {"data": {"size": new}}
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, change)
    return {"size": new}


@kopf.on.field("PLURAL", field="metadata.labels")
def relabel(diff, status, namespace, new, **_):
    name = status["create_fn"]["map-name"]
    change = {"metadata": {"labels": dict(new or {})}}
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, change)


@kopf.on.delete("PLURAL")
def delete_fn(name, namespace, **_):
    note = {"metadata": {"name": f"last-words-of-{name}"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, note)
"""


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(plural: str) -> Json:
    """Return the definition of a kind that may have anything in it."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kopf.example.com"},
        "spec": {
            "group": "kopf.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def established(obj: Json | None) -> bool:
    """Tell whether a definition is."""
    conditions: list[Json] = (obj or {}).get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture
async def plural(cluster: Cluster) -> AsyncIterator[str]:
    """Serve a kind of this test's own, and take it away again; give its plural."""
    name = f"claims{cluster.namespace.replace('-', '')}"
    path = f"{DEFINITIONS}/{name}.kopf.example.com"
    with Connection(cluster.access) as api:
        api.create(DEFINITIONS, definition(name))
    await until(cluster, path, established, "the definition is established")
    yield name
    with Connection(cluster.access) as api:
        api.delete(path)
    await until_gone(cluster, path)


@contextmanager
def operator(cluster: Cluster, plural: str, folder: Path) -> Generator[Path]:
    """Run the operator in the cluster's namespace; give its log, which is shown after a failure."""
    program, log = folder / "operator.py", folder / "kopf.log"
    program.write_text(OPERATOR.replace("PLURAL", f"{plural}.kopf.example.com"), encoding="utf-8")
    command = [sys.executable, "-m", "kopf", "run", str(program), "--standalone"]
    with log.open("wb") as out:
        running = subprocess.Popen(
            [*command, "-n", cluster.namespace],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(folder)},
        )
        try:
            yield log
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            print(log.read_text(encoding="utf-8"))  # noqa: T201


async def test_a_kopf_operator(cluster: Cluster, plural: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("kopf") is None or importlib.util.find_spec("kubernetes") is None:
        lack("kopf and kubernetes are not installed; see pyproject.toml")
    namespace = f"namespaces/{cluster.namespace}"
    claims = f"/apis/kopf.example.com/v1/{namespace}/{plural}"
    maps = f"/api/v1/{namespace}/configmaps"
    claim = {
        "apiVersion": "kopf.example.com/v1",
        "kind": plural.capitalize(),
        "metadata": {"name": "mine"},
        "spec": {"size": "1G"},
    }
    with operator(cluster, plural, tmp_path), Connection(cluster.access) as api:
        owner = api.create(claims, claim)
        await until(cluster, f"{claims}/mine", said("create_fn", "map-name", "mine"), "created")
        child = api.get(f"{maps}/mine")
        assert child["data"] == {"size": "1G"}
        assert [o["uid"] for o in child["metadata"]["ownerReferences"]] == [
            owner["metadata"]["uid"]
        ]
        finalizers = api.get(f"{claims}/mine")["metadata"]["finalizers"]
        assert finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]

        api.patch(f"{claims}/mine", {"spec": {"size": "2G"}})
        await until(cluster, f"{claims}/mine", said("update_fn/spec.size", "size", "2G"), "updated")
        assert api.get(f"{maps}/mine")["data"] == {"size": "2G"}
        api.patch(f"{claims}/mine", {"metadata": {"labels": {"app": "x"}}})
        await until(cluster, f"{maps}/mine", labelled("x"), "the label is passed on")

        reasons = f"/api/v1/{namespace}/events?fieldSelector=involvedObject.name%3Dmine"
        await until(cluster, reasons, lambda found: "Made" in events(found), "the event is there")

        api.delete(f"{claims}/mine")
        await until_gone(cluster, f"{claims}/mine")
        assert api.find(f"{maps}/last-words-of-mine")
        await until_gone(cluster, f"{maps}/mine")


def said(handler: str, name: str, value: str) -> Callable[[Json | None], bool]:
    """Return whether a handler of the operator has written *name* into the status."""
    return lambda obj: (obj or {}).get("status", {}).get(handler, {}).get(name) == value


def labelled(value: str) -> Callable[[Json | None], bool]:
    """Return whether an object has the label app with *value*."""
    return lambda obj: (obj or {})["metadata"].get("labels", {}).get("app") == value


def events(listing: Json | None) -> list[str]:
    """Return the reasons of a list of events."""
    return [item["reason"] for item in items(listing)]
