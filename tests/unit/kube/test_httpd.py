import asyncio

import aiohttp
import pytest

from podwire.kube.httpd import Page, serving


async def test_pages_are_answered_and_others_are_not_there() -> None:
    ready = False
    pages = {
        "/healthz": lambda: Page("ok"),
        "/readyz": lambda: Page("ok" if ready else "not yet", 200 if ready else 503),
        "/metrics": lambda: Page("up 1\n", content_type="text/plain", headers={"X-From": "test"}),
    }
    async with serving(pages, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{port}"

        async def get(path: str, method: str = "GET") -> tuple[int, str]:
            async with session.request(method, base + path) as response:
                return response.status, await response.text()

        assert await get("/healthz") == (200, "ok")
        assert await get("/healthz", "HEAD") == (200, "")
        assert await get("/healthz", "POST") == (405, "405: Method Not Allowed")
        assert await get("/readyz") == (503, "not yet")
        ready = True
        assert await get("/readyz") == (200, "ok")
        assert await get("/nothing") == (404, "404 page not found\n")
        async with session.get(base + "/metrics") as response:
            assert response.headers["X-From"] == "test"


async def test_the_port_is_free_again_after_the_block() -> None:
    async with serving({}, "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match=str(port)):
            async with serving({}, "127.0.0.1", port):
                pass
    async with asyncio.timeout(10), serving({}, "127.0.0.1", port) as again:
        assert again == port
