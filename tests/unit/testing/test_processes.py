"""What processes use, from /proc of this machine."""

import os
import subprocess
import sys

from podwire.testing import processes


def test_the_tree_has_this_process_and_its_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as child:
        tree = {process.pid: process for process in processes.descendants(os.getpid())}
        child.communicate(b"\n")
    assert tree[child.pid].parent == os.getpid()
    assert tree[child.pid].kind.startswith("python")
    assert tree[os.getpid()].cpu > 0


def test_memory_of_this_process_and_of_one_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert processes.proportional_memory(os.getpid()) > 1 << 20
    assert processes.proportional_memory(child.pid) == 0


def test_use_is_summed_by_kind() -> None:
    tree = [
        processes.Process(1, 0, "proxy", 0.5),
        processes.Process(2, 1, "proxy", 0.25),
        processes.Process(3, 1, "dns", 2.0),
    ]
    assert processes.by_kind(tree) == (
        processes.Use("dns", 1, 2.0),
        processes.Use("proxy", 2, 0.75),
    )
