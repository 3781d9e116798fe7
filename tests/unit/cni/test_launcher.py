"""The program that runtimes start, where it finds no Python of its own beside it."""

import os
import shutil
import subprocess
from pathlib import Path

LAUNCHER = Path(__file__).parents[3] / "cni" / "podwire-cni"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_nothing_of_the_working_directory_is_started(tmp_path: Path) -> None:
    """A runtime's PATH may be empty; that must not come to mean: here."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    for name in ("readlink", "podwire", "python3"):
        program(here / name, "echo trap")
    copied = shutil.copy(LAUNCHER, there)
    done = subprocess.run(
        [copied],
        cwd=here,
        env={"PATH": "", "CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "trap" not in done.stdout + done.stderr


def test_without_a_python_it_says_so(tmp_path: Path) -> None:
    tools = tmp_path / "tools with a space"
    tools.mkdir()
    readlink = shutil.which("readlink")
    assert readlink
    (tools / "readlink").symlink_to(os.path.realpath(readlink))
    script = LAUNCHER.read_text()
    assert "/usr/bin:/bin" in script
    copied = tmp_path / "podwire-cni"
    copied.write_text(script.replace("/usr/bin:/bin", f'"{tools}"'))
    done = subprocess.run(
        ["/bin/sh", copied], env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "there is no python3" in done.stderr
