"""The program's life from first sync to lame duck, and its Corefile read again."""

import asyncio
import re
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest

from podwire.dns.messages.message import Kind, Question, Rcode
from podwire.dns.messages.wire import question_packet
from podwire.errors import UsageError
from tests.unit.dns.server_process import (
    FOR_EVER,
    PATIENCE,
    WEB,
    api_server,
    corefile,
    free_port,
    page,
    running,
    service,
)


async def test_a_whole_run(tmp_path: Path) -> None:
    health, ready, metrics = free_port(), free_port(), free_port()
    text = corefile(
        f"health 127.0.0.1:{health} {{\n lameduck {FOR_EVER}\n }}",
        f"ready 127.0.0.1:{ready}",
        f"prometheus 127.0.0.1:{metrics}",
        "loadbalance",
        patience="10ms",
    )
    async with api_server(tmp_path) as api, running(tmp_path, text) as server:
        # The API server does not answer.
        assert await server.rcode(WEB) == Rcode.SERVFAIL
        assert await page(health, "/health") == (200, "OK")
        assert (await page(health, "/"))[0] == 404
        assert await page(ready, "/ready") == (503, "kubernetes")
        assert (await page(ready, "/"))[0] == 404
        await server.said("WARNING.*starting server with unsynced Kubernetes API")

        api.answering.set()
        await server.answers(WEB, Rcode.NXDOMAIN)
        assert await page(ready, "/ready") == (200, "OK")
        api.push("services", "ADDED", service(11))
        assert (await server.answers(WEB, Rcode.NOERROR))[-4:] == bytes((10, 96, 0, 7))
        api.push("services", "DELETED", service(12))
        await server.answers(WEB, Rcode.NXDOMAIN)
        status, shown = await page(metrics, "/metrics")
        assert status == 200
        assert re.search(r'coredns_dns_responses_total\{.*rcode="NXDOMAIN".*\} \d', shown)
        assert "coredns_plugin_enabled" in shown

        server.process.send_signal(signal.SIGTERM)
        await server.said("shutting down after a lame duck of 3600 s")
        assert await page(ready, "/ready") == (503, "Shutting down")
        assert await page(health, "/health") == (200, "OK")
        assert await server.rcode(WEB) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_what_was_known_is_served_while_the_api_server_is_away(tmp_path: Path) -> None:
    async with running(tmp_path, corefile()) as server:
        async with api_server(tmp_path, service(5)):
            await server.answers(WEB, Rcode.NOERROR)
        await server.said("watch of services: .*tried again")
        assert await server.rcode(WEB) == Rcode.NOERROR
        async with api_server(tmp_path, service(5, "10.96.0.8")):
            await server.said("watch of services works again after")
            while (await server.ask(WEB))[-4:] != bytes((10, 96, 0, 8)):
                pass
        # However often it was tried.
        assert sum("watch of services: " in line for line in server.lines) == 1


async def test_until_the_first_sync_requests_wait(tmp_path: Path) -> None:
    port = free_port()
    text = corefile().replace(".:0", f".:{port}")
    async with api_server(tmp_path) as api, running(tmp_path, text):
        await api.asked.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        packet = question_packet(5, Question(WEB, Kind.A))
        writer.write(struct.pack("!H", len(packet)) + packet)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(1)
        api.answering.set()
        reply = await reader.readexactly(6)
        assert reply[5] & 0xF == Rcode.NXDOMAIN
        writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_is_ended_before_the_first_sync_is_no_lame_duck(
    tmp_path: Path, number: signal.Signals
) -> None:
    text = corefile(f"health 127.0.0.1:{free_port()} {{\n lameduck {FOR_EVER}\n }}")
    async with api_server(tmp_path) as api, running(tmp_path, text) as server:
        await api.asked.wait()
        server.process.send_signal(number)
        assert await server.ended() == 0


async def test_an_end_during_a_reload_leaves_what_is_served(tmp_path: Path) -> None:
    duck = "health 127.0.0.1:0 {\n lameduck 1h\n }"
    # The API server here knows no pods, so the wait for them has no end.
    pods = corefile(duck).replace("startup_timeout", "pods verified\n startup_timeout")
    nothing = f"nothing.{WEB}"
    async with api_server(tmp_path, service(5)), running(tmp_path, corefile(duck)) as server:
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        await server.reload(pods, "Reloading")
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        await server.said("lame duck")
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_a_terminal_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    async with api_server(tmp_path, service(5)), running(tmp_path, corefile()) as server:
        await server.answers(WEB, Rcode.NOERROR)
        server.process.send_signal(signal.SIGHUP)
        assert await server.rcode(WEB) == Rcode.NOERROR


async def test_a_changed_corefile_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    metrics, taken = free_port(), free_port()
    page_of = f"prometheus 127.0.0.1:{metrics}"
    async with (
        api_server(tmp_path, service(5)),
        running(tmp_path, corefile(page_of)) as server,
    ):
        other = WEB.replace("cluster.local", "corp.example")
        assert await server.rcode(WEB) == Rcode.NOERROR
        assert await server.rcode(other) == Rcode.SERVFAIL

        await server.reload(corefile(page_of, zone="corp.example"), "Reloading complete")
        assert await server.rcode(WEB) == Rcode.SERVFAIL
        assert await server.rcode(other) == Rcode.NOERROR

        said = await server.reload(corefile("foobar"), "Restart failed")
        assert re.search(r"ERROR.*Corefile:7 - .*foobar.*known are: .*kubernetes", said)
        assert await server.rcode(other) == Rcode.NOERROR

        with socket.create_server(("127.0.0.1", taken)):
            also = f"\ncorp.test:{taken} {{\n bind 127.0.0.1\n errors\n}}\n"
            said = await server.reload(corefile(page_of) + also, "Restart failed")
            assert f"127.0.0.1 port {taken}" in said
            assert await server.rcode(other) == Rcode.NOERROR
            assert await server.rcode(WEB) == Rcode.SERVFAIL

        server.corefile.unlink()
        server.process.send_signal(signal.SIGUSR1)
        await server.said("Restart failed: .*cannot be read")
        assert await server.rcode(other) == Rcode.NOERROR
        assert "coredns_reload_failed_total 3" in (await page(metrics, "/metrics"))[1]

        await server.reload(corefile(), "Reloading complete")
        assert await server.rcode(WEB) == Rcode.NOERROR


async def test_an_address_beside_all_addresses(tmp_path: Path) -> None:
    port = free_port()
    everywhere = f".:{port} {{\n template IN A . {{\n rcode NXDOMAIN\n }}\n}}\n"
    here = f".:{port} {{\n bind 127.0.0.1\n template IN A . {{\n rcode REFUSED\n }}\n}}\n"
    both = everywhere + here.replace(".:", "a.test:", 1)
    async with running(tmp_path, both) as server:
        # The kernel hands out what is closest.
        assert await server.rcode("a.test.") == Rcode.REFUSED
        for text, rcode in ((here, Rcode.REFUSED), (everywhere, Rcode.NXDOMAIN)) * 2:
            await server.reload(text, "Reloading complete")
            assert await server.rcode("b.test.") == rcode
        # Others cannot have it all the same.
        with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", port)):
            pass
        async with running(tmp_path, here, file="Corefile2") as other:
            assert await other.ended() == 69


@pytest.mark.parametrize("what", ["dns", "health"])
async def test_a_port_in_use_is_said(tmp_path: Path, what: str) -> None:
    port = free_port()
    text = {
        "dns": corefile().replace(".:0", f".:{port}"),
        "health": corefile(f"health 127.0.0.1:{port}"),
    }[what]
    with socket.create_server(("127.0.0.1", port)):
        async with running(tmp_path, text) as server:
            assert await server.ended() == 69
            assert re.match(
                rf"\[ERROR\] cannot (listen|serve) .*127\.0\.0\.1.*{port}", server.lines[-1]
            )


async def test_a_port_in_use_for_ipv6_alone_is_said(tmp_path: Path) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        async with running(tmp_path, f".:{port} {{\n whoami\n}}\n") as server:
            assert await server.ended() == 69
            assert f"cannot listen on :: port {port}" in server.lines[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".:0 {\n errors\n foobar\n}\n", r"Corefile:3 - .*foobar.*known are: .*kubernetes"),
        (".:0 {\n errors\n", r"Corefile:2 - .*EOF"),
        (".:0 {\n kubernetes cluster.local {\n  ttl 9999\n }\n}\n", r"Corefile:3 - .*ttl.*3600"),
        (".:0 {\n kubernetes cluster.local {\n  pods all\n }\n}\n", r"Corefile:3 - .*verified"),
    ],
)
async def test_a_broken_corefile_is_refused_with_the_line(
    tmp_path: Path, text: str, said: str
) -> None:
    async with running(tmp_path, text) as server:
        assert await server.ended() == UsageError.exit_status
        assert re.search(said, server.lines[-1]), server.lines


async def test_a_forwarding_loop_ends_the_process(tmp_path: Path) -> None:
    port = free_port()
    text = f".:{port} {{\n bind 127.0.0.1\n loop\n forward . 127.0.0.1:{port}\n}}\n"
    async with running(tmp_path, text) as server:
        assert await server.ended() == 1
        assert re.match(
            rf"\[FATAL\] plugin/loop: Loop \(127\.0\.0\.1:\d+ -> 127\.0\.0\.1:{port}\) detected",
            server.lines[-1],
        )


async def test_the_last_words_are_written_even_if_the_interpreter_says_no_goodbye(
    tmp_path: Path,
) -> None:
    # That is how the processes of containers end that were forked, not executed.
    code = "import os, podwire.dns.program as p; os._exit(p.main(['-conf', 'Corefile'], {}))"
    port = free_port()
    (tmp_path / "Corefile").write_text(
        f".:{port} {{\n bind 127.0.0.1\n loop\n forward . 127.0.0.1:{port}\n}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", code), stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    assert said.splitlines()[-1].startswith(b"[FATAL] plugin/loop: ")


async def test_without_a_name_the_corefile_of_the_folder_is_read(tmp_path: Path) -> None:
    port = free_port()
    text = corefile().replace(".:0", ".")
    async with (
        api_server(tmp_path, service(5)),
        running(tmp_path, text, f"-dns.port={port}") as server,
    ):
        await server.answers(WEB, Rcode.NOERROR)
        assert await server.port() == port


async def test_without_a_corefile_the_given_port_is_served(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path, "", f"-dns.port={port}", file="Other") as server:
        await server.said(rf"\] dns on 0\.0\.0\.0:{port}, zones \.")


async def test_a_corefile_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with running(tmp_path, corefile(), "-conf", "Nothing") as server:
        assert await server.ended() == UsageError.exit_status
        assert "Nothing: cannot be read" in server.lines[-1]
