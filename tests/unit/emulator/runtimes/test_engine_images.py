"""When an image is pulled, what is told, and what an image runs."""

from typing import Any

import pytest

from podwire.emulator.images.catalogue import ImageError
from podwire.emulator.runtimes.engine_images import EngineImages, image_of, tagged
from podwire.testing.clock import FakeClock
from tests.unit.emulator.engine.conftest import Engines, engines

__all__ = ["engines"]

DESCRIBED: dict[str, Any] = {
    "Id": "sha256:abc",
    "Size": 1000,
    "RepoDigests": ["web@sha256:def"],
    "Config": {
        "Entrypoint": ["/entry"],
        "Cmd": ["serve"],
        "Env": ["PATH=/opt/bin", "EMPTY=", "EQUATION=a=b"],
        "WorkingDir": "/srv",
        "User": "www",
        "StopSignal": "SIGQUIT",
    },
}


@pytest.mark.parametrize(
    ("there", "registry", "policy", "told"),
    [
        ("web:1", "", "IfNotPresent", "Pulled already"),
        ("web:1", "", "Never", "Pulled already"),
        ("web:1", "", "", "Pulled already"),
        ("web:1", "web:1", "Always", "Pulling, Pulled freshly"),
        ("", "web:1", "IfNotPresent", "Pulling, Pulled freshly"),
        ("", "web:1", "Never", "ErrImageNeverPull: not present with pull policy of Never"),
        ("", "", "IfNotPresent", "Pulling, ErrImagePull: manifest for web:1 not found"),
        ("web:1", "", "Always", "Pulling, ErrImagePull: imagePullPolicy: IfNotPresent"),
    ],
)
async def test_the_policy_decides(
    there: str, registry: str, policy: str, told: str, engines: Engines
) -> None:
    heard: list[str] = []

    def tell(reason: str, message: str) -> None:
        already = message == 'Container image "web:1" already present on machine'
        freshly = message.startswith('Successfully pulled image "web:1" in ')
        heard.append(reason + " already" * already + " freshly" * freshly)

    async with engines() as (fake, engine):
        fake.images.update({there: DESCRIBED} if there else {})
        fake.registry.update({registry: DESCRIBED} if registry else {})
        try:
            await EngineImages(engine, FakeClock()).image("web:1", policy, tell)
        except ImageError as error:
            heard.append(f"{error.reason}: {error}")
    for said, wanted in zip(heard, told.split(", "), strict=True):
        reason, _, words = wanted.partition(": ")
        assert said.startswith(reason)
        assert words in said


def test_an_image_is_what_the_engine_says() -> None:
    image = image_of("web:1", DESCRIBED)
    assert (image.entrypoint, image.command) == (("/entry",), ("serve",))
    assert image.environ == {"PATH": "/opt/bin", "EMPTY": "", "EQUATION": "a=b"}
    assert (image.directory, image.user, image.stop_signal) == ("/srv", "www", 3)
    assert image.home == ""
    assert image.identity == "docker-pullable://web@sha256:def"
    bare = image_of("x", {"Id": "sha256:abc", "Config": {"Cmd": None, "Env": None}})
    assert (bare.entrypoint, bare.command, bare.directory) == ((), (), "/")
    assert (bare.stop_signal, bare.identity) == (15, "docker://sha256:abc")


@pytest.mark.parametrize(("name", "number"), [("INT", 2), ("RTMAX-1", 63), ("what", 15), ("", 15)])
def test_a_stop_signal_has_a_number(name: str, number: int) -> None:
    assert image_of("x", {"Id": "1", "Config": {"StopSignal": name}}).stop_signal == number


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("web", "web:latest"),
        ("web:1", "web:1"),
        ("host:5000/web", "host:5000/web:latest"),
        ("web@sha256:def", "web@sha256:def"),
    ],
)
def test_without_a_tag_it_is_the_latest(name: str, asked: str) -> None:
    assert tagged(name) == asked
