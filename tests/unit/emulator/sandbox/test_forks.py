import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from podwire.emulator.sandbox.messages import LARGEST
from podwire.emulator.sandbox.processes import Place, Program, StartError
from tests.unit.emulator.sandbox.conftest import Server

PATH = {"PATH": "/usr/bin:/bin"}


def shell(script: str, **environ: str) -> Program:
    return Program(("sh", "-c", script), {**PATH, **environ})


@pytest.mark.parametrize(
    ("script", "status", "stdout", "stderr"),
    [
        ("echo out; echo err >&2", 0, "out\n", "err\n"),
        ("exit 3", 3, "", ""),
        ("kill -TERM $$", 128 + signal.SIGTERM, "", ""),
        ("kill -KILL $$", 128 + signal.SIGKILL, "", ""),
        ("echo $NAME $#", 0, "web 0\n", ""),
        ("cat", 0, "typed", ""),
        # What the fork server holds is not for programs: 0, 1, 2 and the directory that ls reads.
        ("ls /proc/self/fd | wc -l", 0, "4\n", ""),
        # A shell cannot trap what was ignored when it started.
        ("trap 'echo bye; exit 0' TERM; kill -TERM $$; exit 1", 0, "bye\n", ""),
        ("trap 'echo bye; exit 0' INT; kill -INT $$; exit 1", 0, "bye\n", ""),
        ("trap 'echo bye; exit 0' HUP; kill -HUP $$; exit 1", 0, "bye\n", ""),
        # Nothing blocked or ignored; signals 32 and 33 are the C library's own, nobody can set them.
        (
            "grep -cE 'Sig(Ign|Blk):.0{7}[01][08]0{7}$' /proc/self/status",
            0,
            "2\n",
            "",
        ),
    ],
)
async def test_a_program_of_the_host(
    server: Server, script: str, status: int, stdout: str, stderr: str
) -> None:
    ended = await server.run(shell(script, NAME="web"), stdin=b"typed")
    assert ended == (status, stdout, stderr)


async def test_it_starts_in_its_directory_as_leader_of_its_session(
    server: Server, tmp_path: Path
) -> None:
    program = Program(
        ("sh", "-c", "pwd; ps -o sid= -p $$ | tr -d ' '; echo $$"), PATH, directory=str(tmp_path)
    )
    _status, out, _err = await server.run(program)
    directory, session, pid = out.split()
    assert (directory, session) == (str(tmp_path), pid)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("no-such-program",), 'exec: "no-such-program": executable file not found in $PATH'),
        (("",), 'exec: "": executable file not found in $PATH'),
        (("/no/such",), 'exec: "/no/such": no such file or directory'),
        (("/etc",), 'exec: "/etc": permission denied'),
        (("echo", "a\0b"), "ValueError: embedded null byte"),
        ((), "IndexError: tuple index out of range"),
    ],
)
async def test_a_program_that_cannot_start(
    server: Server, argv: tuple[str, ...], message: str
) -> None:
    with pytest.raises(StartError) as raised:
        await server.run(Program(argv, PATH))
    assert str(raised.value) == message


async def test_a_directory_that_is_not_there(server: Server) -> None:
    with pytest.raises(StartError, match="No such file or directory: /no/such"):
        await server.run(Program(("true",), PATH, directory="/no/such"))


async def test_arguments_that_fit_in_no_message(server: Server) -> None:
    with pytest.raises(StartError, match="argument list too long"):
        await server.run(Program(("echo", "x" * LARGEST), PATH))


def builtin(name: str, *argv: str, **environ: str) -> Program:
    return Program((name, *argv), environ, builtin=name)


@pytest.mark.parametrize(
    ("program", "status", "stdout", "stderr"),
    [
        (builtin("greet", "a", "b", NAME="web"), 2, "hello a b, web web\n", "and to you\n"),
        (builtin("ask"), 0, "TYPED", ""),
        (builtin("leave", "exit", "4"), 4, "", ""),
        (builtin("leave", "exit", "256"), 0, "", ""),
        (builtin("leave", "none", ""), 0, "", ""),
        (builtin("leave", "text", "why"), 1, "", "why\n"),
    ],
)
async def test_a_built_in_program(
    server: Server, program: Program, status: int, stdout: str, stderr: str
) -> None:
    assert await server.run(program, stdin=b"typed") == (status, stdout, stderr)


async def test_a_built_in_program_that_fails(server: Server) -> None:
    status, out, err = await server.run(builtin("leave", "raise", "broken"))
    assert (status, out) == (1, "")
    assert err.startswith("Traceback")
    assert err.endswith("ValueError: broken\n")


async def test_a_built_in_program_that_nobody_knows(server: Server) -> None:
    with pytest.raises(StartError) as raised:
        await server.run(builtin("unknown"))
    assert str(raised.value) == 'no built-in program "unknown" (there are ask, greet, leave, rest)'


async def test_a_signal_ends_a_process_and_later_ones_are_nothing(server: Server) -> None:
    process = await server.forks.fork(builtin("rest", "60"), Place())
    assert process.running
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == await process.wait() == 128 + signal.SIGTERM
    assert not process.running
    process.send_signal(signal.SIGKILL)
    process.close()
    process.close()


async def test_many_at_once_each_with_its_own_status(server: Server) -> None:
    ended = await asyncio.gather(*(server.run(shell(f"exit {n}")) for n in range(40)))
    assert [status for status, _, _ in ended] == list(range(40))


def children(server: Server) -> str:
    pid = server.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


async def test_the_fork_server_keeps_no_descriptor_and_no_zombie(server: Server) -> None:
    pid = server.process.pid

    def held() -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    await server.run(shell("true"))
    before = held()
    for program in (shell("true"), builtin("greet"), Program(("no-such",), PATH)):
        for _ in range(5):
            try:
                await server.run(program)
            except StartError:
                continue
    assert held() == before
    assert children(server) == ""


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 9])
async def test_a_fork_that_is_cancelled_leaves_no_process(server: Server, steps: int) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(server.forks.fork(builtin("rest", "60"), Place()))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        process = task.result()
        process.send_signal(signal.SIGKILL)
        process.close()
    # The next answer comes after that of the one that was cancelled, so all is decided then.
    await server.run(shell("true"))
    async with asyncio.timeout(10):
        while children(server):
            await server.run(shell("true"))


async def test_when_the_fork_server_ends_nobody_waits_for_ever(server: Server) -> None:
    process = await server.forks.fork(builtin("rest", "60"), Place())
    server.end()
    assert await process.wait() == 128 + signal.SIGKILL
    os.kill(process.pid, signal.SIGKILL)  # without a PID namespace it outlives its parent
    with pytest.raises(StartError, match="the fork server is gone"):
        await server.forks.fork(builtin("rest", "60"), Place())


def test_a_process_that_ended_before_the_fork_server_ran_is_not_missed() -> None:
    script = (
        "import os, time\n"
        "from podwire.emulator.sandbox import forkserver, messages\n"
        "ours, theirs = messages.channel()\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0)\n"
        "os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
        "forkserver.ForkServer(ours, {}).run({child: 'the zygote'}, print)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "the zygote\n"), done.stderr
