"""Recorded commands of kubectl: how a file of them is read, and what its images run here.

A file has `manifests` (name -> text) and `cases`: id, tier, setup, command, perhaps a background
command beside it, and what to expect. PODWIRE_KUBECTL_CASES names another file than ours.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from podwire.emulator.images.catalogue import ImageError, normalise, resolve

Json = dict[str, Any]

OURS = Path(__file__).parents[1] / "data" / "kubectl"

ECHO_PORT = "8080"
ECHO_SETUP = (
    f"kubectl run echo --image=podwire/recorded-echo --port={ECHO_PORT} && "
    "kubectl wait --for=condition=Ready pod/echo --timeout=15s"
)
"""What a case means by $ECHO_SETUP: a pod that answers HTTP on $ECHO_PORT."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of cases."""

    manifests: Mapping[str, str]
    cases: tuple[Json, ...]

    def write(self, folder: Path) -> None:
        """Put the manifests into *folder*; what is a program can be run."""
        for name, text in self.manifests.items():
            path = folder / name
            path.write_text(_ends_soon(text), encoding="utf-8")
            path.chmod(0o755 if text.startswith("#!") else 0o644)

    def images(self) -> dict[str, list[str]]:
        """Return what runs under the names of this file's images, where that is not as usual."""
        return images(self.manifests.values(), map(_commands, self.cases))


def read(path: Path) -> Recording:
    """Return the cases of a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Recording(document["manifests"], tuple(document["cases"]))


def chosen() -> Path:
    """Return the file to run."""
    return Path(os.environ.get("PODWIRE_KUBECTL_CASES") or OURS / "cases.json")


def images(manifests: Iterable[str], commands: Iterable[str]) -> dict[str, list[str]]:
    """Return image -> command for each image that must not run what the catalogue says.

    The cases were recorded with a kubelet that ran nothing: a container was ready whatever it
    named. So a container that declares a port serves HTTP on it (probes and Services find it),
    whatever its tag; and an image that nobody knows here stays up.
    """
    ports: dict[str, int] = {}
    named: set[str] = {"podwire/recorded-echo"}
    for container in _containers(manifests):
        image = str(container.get("image", ""))
        named.add(image)
        declared = [port.get("containerPort") for port in container.get("ports") or ()]
        if declared and not container.get("command"):
            ports[normalise(image)] = int(declared[0])
    for text in commands:
        named.update(_IMAGE.findall(text))
        named.update(image for words in _SET_IMAGE.findall(text) for image in _EQUALS(words))
    ports[normalise("podwire/recorded-echo")] = int(ECHO_PORT)
    found: dict[str, list[str]] = {}
    for image in sorted(named - {""}):
        port = ports.get(normalise(image))
        if port is not None and (":" in image or not _known(image)):
            found[image] = ["builtin:web", "--port", str(port)]
        elif not _known(image):
            found[image] = ["builtin:pause"]
    return found


_POD_SPEC = re.compile(r"(^kind: Pod\n(?:(?!^---).*\n)*?^spec:\n)", re.MULTILINE)


def _ends_soon(text: str) -> str:
    """Give pods a short time to end.

    The kubelet of the recording ended them at once. Here `sleep` runs, and the first process of a
    container does not hear SIGTERM unless it asks to: that is how it is with Kubernetes, too.
    """
    if "terminationGracePeriodSeconds" in text:
        return text
    return _POD_SPEC.sub(r"\1  terminationGracePeriodSeconds: 2\n", text)


# --image=a:1, --image a:1, "image":"b:1", /image","value":"c:1", image: d:1
_IMAGE = re.compile(
    r"""(?:--image[= ]|\bimage["']?(?::|,\s*["']value["']:)\s*)["']?([\w./-]+(?::[\w.-]+)?)"""
)
_SET_IMAGE = re.compile(r"\bset image((?: +[^\s;&|]+)+)")
_EQUALS = re.compile(r"=([\w./-]+(?::[\w.-]+)?)").findall


def _known(image: str) -> bool:
    """Tell whether an image runs on every machine: not each has redis, say."""
    try:
        resolve(image, {}, lambda _program: None)
    except ImageError:
        return False
    return True


def _containers(manifests: Iterable[str]) -> Iterator[Json]:
    for text in manifests:
        try:
            documents = list(yaml.safe_load_all(text))
        except yaml.YAMLError:
            continue  # a script, or a manifest that is wrong on purpose
        yield from _containers_in(documents)


def _containers_in(value: object) -> Iterator[Json]:
    """Yield every container anywhere below: of pods, templates, and templates of templates."""
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _containers_in(item)
    elif isinstance(value, dict):
        members = cast("Json", value)
        for name, member in members.items():
            if name in ("containers", "initContainers") and isinstance(member, list):
                yield from (one for one in cast("list[object]", member) if isinstance(one, dict))
            else:
                yield from _containers_in(member)


def _commands(case: Json) -> str:
    return "\n".join([*case["setup"], case["command"], case.get("background") or ""])
