"""Commands in a running container, and what is kept of their output."""

import pytest

from podwire.emulator.runtimes.fake import FakeProcess
from podwire.kube.names import Key
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node

LOOPS = {"jumping": JumpingLoop}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("few", (3, "few words")),
        ("many", (0, "m" * 4096)),
        ("no-such", (126, 'cannot start "no-such": exec: "no-such": executable file not found')),
    ],
)
async def test_the_output_of_a_command(node: Node, command: str, expected: tuple[int, str]) -> None:
    async def few(process: FakeProcess) -> int:
        process.print("few words")
        return 3

    async def many(process: FakeProcess) -> int:
        process.print("m" * 50_000)
        return 0

    async with node() as world:
        world.program("few", few)
        world.program("many", many)
        await world.pod()
        await world.until(lambda: world.ready())
        life = world.kubelet.life(Key("default", "web"))
        assert life is not None
        run = life.container("")
        assert run is not None
        status, output = await run.commands.output_of([command])
        assert status == expected[0]
        assert output.removesuffix(" in $PATH") == expected[1]
