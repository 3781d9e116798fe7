"""scripts/as-ordinary-user, with programs in place of those that only root may run; scripts/tests."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 2**31 - 7  # a user that no process here has


@dataclass
class Machine:
    """A folder of programs that stand in for the machine's own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [ROOT / "scripts" / "as-ordinary-user", *words],
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PODWIRE_PATIENCE": "3",
                **environ,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    made.program("useradd", "exit 0")
    made.program("getent", f"echo user:x:{NOBODY}:1::{home}:/bin/sh")
    made.program("git", "printf 'file\\0'")
    made.program("chown", "exit 0")
    made.program("find", "exit 0")
    made.program("runuser", 'shift 3; exec "$@"')
    made.program("userdel", f"echo gone >{tmp_path}/userdel")
    (tmp_path / "file").write_text("")
    return made


def test_the_command_runs_in_the_copy_with_the_callers_proxies(machine: Machine) -> None:
    done = machine.run(
        "sh", "-c", 'pwd; ls; echo "$NO_PROXY|$https_proxy|$PIP_INDEX_URL|$SECRET"',
        NO_PROXY="a.example, b.example", https_proxy="http://p:1", PIP_INDEX_URL="x y", SECRET="s",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    home = machine.folder / "home" / "podwire"
    assert done.stdout.splitlines() == [
        str(home), "file", "a.example, b.example|http://p:1|x y|",
    ]  # fmt: skip
    assert (machine.folder / "userdel").exists()


@pytest.mark.parametrize("status", [0, 3])
def test_the_commands_status_is_kept(machine: Machine, status: int) -> None:
    assert machine.run("sh", "-c", f"exit {status}").returncode == status
    assert (machine.folder / "userdel").exists()


def test_a_user_that_cannot_be_removed_is_said(machine: Machine) -> None:
    machine.program("userdel", "echo it is in use >&2; exit 8")
    done = machine.run("true")
    assert done.returncode == 1
    assert "could not be removed: it is in use\n  when its processes have ended" in done.stderr


def test_what_the_command_leaves_behind_is_named_after_a_wait(machine: Machine) -> None:
    home = machine.folder / "home"
    machine.program("getent", f"echo user:x:{os.getuid()}:1::{home}:/bin/sh")
    with subprocess.Popen([b"a\x80 \nb", "30"], executable=shutil.which("sleep")) as left:
        done = machine.run("true")
        left.kill()
    assert done.returncode == 1
    assert f"as-ordinary-user: left behind: {left.pid} a? ?b 30" in done.stderr


def test_files_that_the_command_leaves_behind_are_named_and_removed(machine: Machine) -> None:
    asked = machine.folder / "asked"
    machine.program("find", f'echo "$*" >>{asked}; echo /tmp/left')
    done = machine.run("true")
    assert (done.returncode, done.stderr) == (1, "as-ordinary-user: left behind: /tmp/left\n")
    where = f"/tmp /var/tmp /dev/shm -maxdepth 1 -uid {NOBODY}"
    assert asked.read_text().splitlines() == [where, f"{where} -exec rm -rf {{}} +"]


FLAKY = """
from pathlib import Path

TRIED = Path(__file__).with_name("tried")

def test_good(): pass

def test_shaky():
    TRIED.write_text(TRIED.read_text() + "x" if TRIED.exists() else "x")
    assert len(TRIED.read_text()) > NEEDED
"""


@pytest.mark.parametrize(
    ("needed", "broken", "status", "tries", "says"),
    [
        (0, 0, 0, 1, ""),
        (1, 0, 0, 2, "passed only at the second try: -----\nFAILED"),
        (9, 0, 1, 2, "once more, alone"),
        (0, 5, 1, 1, "once more, alone"),
        (0, 6, 1, 1, ""),
    ],
)
def test_what_fails_has_a_second_try_alone(
    tmp_path: Path, *, needed: int, broken: int, status: int, tries: int, says: str
) -> None:
    (tmp_path / "test_it.py").write_text(FLAKY.replace("NEEDED", str(needed)))
    for n in range(broken):
        (tmp_path / f"test_broken_{n}.py").write_text("def test_broken(): assert False\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [ROOT / "scripts" / "tests", "-q", "-p", "xdist", "-n", "2"],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stdout
    assert says in done.stdout
    assert ("once more" in done.stdout) == (says != "")
    assert len((tmp_path / "tried").read_text()) == tries
