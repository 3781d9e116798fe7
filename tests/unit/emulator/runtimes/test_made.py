"""Which containers of an engine are ours."""

import logging
from typing import Any

import pytest

from podwire.emulator.runtimes.made import MadeContainers
from tests.unit.emulator.engine.conftest import Engines
from tests.unit.emulator.engine.conftest import engines as engines

LABELS = {
    "podwire.dev/made-by": "shop",
    "podwire.dev/pod-uid": "uid",
    "podwire.dev/made-container": "main",
    "podwire.dev/made-pod": "default/web",
}
SANDBOX = {**LABELS, "podwire.dev/made-container": "POD"}
OURS, ITS_SANDBOX = "podwire_shop_default_web_main_0", "podwire_shop_default_web_POD_0"


async def create(engine: Any, name: str, network: str, labels: dict[str, str]) -> str:
    body = {"Labels": labels, "HostConfig": {"NetworkMode": network}}
    created = await engine.post("/containers/create", body, name=name)
    return str(created["Id"])


@pytest.mark.parametrize(
    ("name", "network", "ours"),
    [
        (OURS, "container:SANDBOX", True),
        ("podwire_shop_default_web_main_12", "container:SANDBOX", True),
        # Its sandbox was removed by somebody.
        (OURS, "container:gone", True),
        # Of an image that docker commit has made of one of ours.
        ("eager_turing", "bridge", False),
        ("eager_turing", "container:SANDBOX", False),
        (OURS, "bridge", False),
        (OURS, "container:THEIRS", False),
        ("podwire_shop_default_web_main_copy", "container:SANDBOX", False),
        ("podwire_shop_default_web_main", "container:SANDBOX", False),
        ("podwire_shop_default_other_main_0", "container:SANDBOX", False),
    ],
)
async def test_labels_alone_do_not_make_it_ours(
    engines: Engines, caplog: pytest.LogCaptureFixture, name: str, network: str, *, ours: bool
) -> None:
    caplog.set_level(logging.WARNING)
    async with engines() as (fake, engine):
        ids = {
            "SANDBOX": await create(engine, ITS_SANDBOX, "pods", SANDBOX),
            "THEIRS": await create(engine, "theirs", "bridge", {}),
        }
        for word, identity in ids.items():
            network = network.replace(word, identity)
        made = await create(engine, name, network, LABELS)
        containers = MadeContainers(engine, "shop")
        found = {each.id for each in await containers.of("uid", "main")}
        assert found == ({made} if ours else set())
        assert await containers.leftovers({"uid"}) == ()
        assert await containers.leftovers(()) == ("uid",)
        assert (made in fake.containers) == (not ours)
        assert ids["THEIRS"] in fake.containers
    # Told once.
    assert [name in record.message for record in caplog.records] == [True] * (not ours)
