"""The ledger on disk: host-local's files, all or nothing."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from podwire.cni.ipam import HostLocal, parse_host_local
from podwire.cni.ledger import Ledger
from podwire.cni.spec import Attachment, CniError

ONE = Attachment("one", "eth0")
TWO = Attachment("two", "eth0")


def wanted(*subnets: str, **members: Any) -> HostLocal:
    return parse_host_local({"ranges": [[{"subnet": s}] for s in subnets], **members})


def reserve(path: Path, owner: Attachment, *subnets: str) -> list[str]:
    leases = Ledger(str(path), "net").reserve(owner, wanted(*subnets or ("10.0.0.0/24",)))
    return [str(lease.address) for lease in leases]


def test_files_are_those_of_host_local(tmp_path: Path) -> None:
    assert reserve(tmp_path, ONE, "10.0.0.0/24", "fd00::/64") == ["10.0.0.2/24", "fd00::2/64"]
    directory = tmp_path / "net"
    assert {path.name for path in directory.iterdir()} == {
        "10.0.0.2",
        "fd00::2",
        "last_reserved_ip.0",
        "last_reserved_ip.1",
        "lock",
    }
    assert (directory / "10.0.0.2").read_bytes() == b"one\r\neth0"
    assert (directory / "last_reserved_ip.0").read_bytes() == b"10.0.0.2"
    assert (directory / "10.0.0.2").stat().st_mode & 0o777 == 0o600


def test_release(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "net")
    reserve(tmp_path, ONE)
    reserve(tmp_path, TWO)
    reserve(tmp_path, Attachment("one", "eth1"))
    ledger.release(ONE)
    ledger.release(ONE)
    assert ledger.held_by(ONE) == ()
    assert ledger.held_by(TWO) == ("10.0.0.3",)
    assert ledger.held_by(Attachment("one", "eth1")) == ("10.0.0.4",)
    assert reserve(tmp_path, ONE) == ["10.0.0.5/24"]


def test_files_of_old_versions_are_released(tmp_path: Path) -> None:
    reserve(tmp_path, TWO)
    (tmp_path / "net" / "10.0.0.9").write_text("one\n")
    ledger = Ledger(str(tmp_path), "net")
    assert ledger.held_by(ONE) == ("10.0.0.9",)
    ledger.release(ONE)
    assert ledger.held_by(ONE) == ()
    assert ledger.held_by(TWO) == ("10.0.0.2",)


def test_twice_is_refused(tmp_path: Path) -> None:
    reserve(tmp_path, ONE)
    with pytest.raises(CniError, match=r"10\.0\.0\.2 has been allocated to one, duplicate"):
        reserve(tmp_path, ONE)
    assert Ledger(str(tmp_path), "net").held_by(ONE) == ("10.0.0.2",)


def test_all_or_none(tmp_path: Path) -> None:
    reserve(tmp_path, ONE, "10.0.0.0/24", "10.1.0.0/30")
    with pytest.raises(CniError, match="failed to allocate for range 1"):
        reserve(tmp_path, TWO, "10.0.0.0/24", "10.1.0.0/30")
    assert Ledger(str(tmp_path), "net").held_by(TWO) == ()


@pytest.mark.parametrize("name", ["last_reserved_ip.0", "10.0.0.3", "10.0.0.3.d/x"])
def test_garbage_is_no_obstacle(tmp_path: Path, name: str) -> None:
    reserve(tmp_path, ONE)
    file = tmp_path / "net" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"\xff garbage")
    (given,) = reserve(tmp_path, TWO)
    assert given in ("10.0.0.3/24", "10.0.0.4/24")


def test_nothing_there_is_released(tmp_path: Path) -> None:
    Ledger(str(tmp_path / "missing"), "net").release(ONE)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "file").write_text("")
    Ledger(str(tmp_path / "file"), "net").release(ONE)
    with pytest.raises(CniError, match="Not a directory"):
        reserve(tmp_path / "file", ONE)


def test_release_others(tmp_path: Path) -> None:
    for owner in (ONE, TWO, Attachment("three", "eth0")):
        reserve(tmp_path, owner)
    ledger = Ledger(str(tmp_path), "net")
    assert ledger.release_others({TWO}) == ()
    assert ledger.held_by(TWO) == ("10.0.0.3",)
    assert ledger.held_by(ONE) == ()


def waits_for_a_lock(pid: int) -> bool:
    return any(
        "-> FLOCK" in line and f" {pid} " in line
        for line in Path("/proc/locks").read_text().splitlines()
    )


def test_lock_is_flock(tmp_path: Path) -> None:
    """A process that holds host-local's lock keeps us out until it lets go."""
    reserve(tmp_path, ONE)
    lock = os.open(tmp_path / "net" / "lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    program = (
        "import sys; from podwire.cni.ledger import Ledger; from podwire.cni.spec import Attachment\n"
        "print('started', flush=True)\n"
        f"Ledger({str(tmp_path)!r}, 'net').release(Attachment('one', 'eth0'))\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        while not waits_for_a_lock(other.pid):
            assert other.poll() is None
            time.sleep(0.005)
        assert (tmp_path / "net" / "10.0.0.2").exists()
        os.close(lock)
        assert other.wait(30) == 0
    assert not (tmp_path / "net" / "10.0.0.2").exists()
