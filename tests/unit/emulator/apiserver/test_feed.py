import asyncio

from podwire.emulator.apiserver import backlogs
from podwire.emulator.apiserver.backlogs import Backlogs
from podwire.emulator.apiserver.feed import Feed
from podwire.testing.apiserver import SilentServer

MAPS = "/api/v1/namespaces/default/configmaps"
SECONDS = 10


class Wire:
    """A transport whose other end reads when the test says so."""

    def __init__(self) -> None:
        self.unread = b""
        self.closing = False

    def write(self, data: bytes) -> None:
        self.unread += data

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def read(self) -> str:
        text, self.unread = self.unread, b""
        return text.decode()


async def test_a_watch_that_lags_too_far_behind_is_cut_off(server: SilentServer) -> None:
    wire = Wire()
    behind = Feed(
        server.api.store, "configmaps", server.watch(f"{MAPS}?watch=1").watch, wire, Backlogs()
    )
    big = {"a": "x" * 1_000_000}
    server.must(f"POST {MAPS}", {"metadata": {"name": "c"}, "data": big})
    for n in range(backlogs.LARGEST // 1_000_000 + 2):
        server.must(f"PATCH {MAPS}/c", {"data": {"n": str(n)}}, patch="merge")
        await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        await behind.run(60)
    assert wire.closing


async def test_a_list_larger_than_the_backlog_is_no_lag(server: SilentServer) -> None:
    big = {"a": "x" * 1_000_000}
    for n in range(backlogs.LARGEST // 1_000_000 + 2):
        server.must(f"POST {MAPS}", {"metadata": {"name": f"c-{n}"}, "data": big})
    wire = Wire()
    watching = Feed(
        server.api.store, "configmaps", server.watch(f"{MAPS}?watch=1").watch, wire, Backlogs()
    )
    server.must(f"POST {MAPS}", {"metadata": {"name": "more"}})
    await asyncio.sleep(0)
    watching.close()
    assert not wire.closing
    assert '"more"' in wire.read()


async def test_what_happens_in_one_turn_is_one_chunk(server: SilentServer) -> None:
    wire = Wire()
    watching = Feed(
        server.api.store, "configmaps", server.watch(f"{MAPS}?watch=1").watch, wire, Backlogs()
    )
    for name in ("a", "b"):
        server.must(f"POST {MAPS}", {"metadata": {"name": name}})
    await asyncio.sleep(0)
    size, _, rest = wire.read().partition("\r\n")
    assert rest.count("\n") == 3  # two lines, and the chunk's own end
    assert int(size, 16) == len(rest) - len("\r\n")
    server.must(f"POST {MAPS}", {"metadata": {"name": "late"}})
    watching.close()
    await asyncio.sleep(0)
    assert wire.read() == "", "nothing comes after the end"


async def test_what_was_missed_and_is_not_selected_ends_nothing(server: SilentServer) -> None:
    server.must(f"POST {MAPS}", {"metadata": {"name": "a"}})
    query = "watch=1&resourceVersion=1&fieldSelector=metadata.name%3Db"
    server.must(f"POST {MAPS}", {"metadata": {"name": "c"}})
    wire = Wire()
    watching = Feed(
        server.api.store, "configmaps", server.watch(f"{MAPS}?{query}").watch, wire, Backlogs()
    )
    assert wire.read() == "", "an empty chunk would be the last one"
    server.must(f"POST {MAPS}", {"metadata": {"name": "b"}})
    await asyncio.sleep(0)
    watching.close()
    assert '"ADDED"' in wire.read()
