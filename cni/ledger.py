"""The addresses in use, in host-local's own files: both plugins can share one directory.

`<data dir>/<network>/` holds one file per address, named by it, whose text is the container's id,
CR LF and the interface; `last_reserved_ip.<set>`; and `lock`, held by flock(2). Everything raises
CniError.
"""

import errno
import fcntl
import os
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from podwire.cni.ipam import HostLocal, Lease, next_free, requested_lease, show
from podwire.cni.spec import Attachment, CniError, Code
from podwire.netlink.changes import Address

_LOCK, _LAST, _DRAFT = "lock", "last_reserved_ip.", "draft"


class Ledger:
    """The reservations of one network under *data_dir*."""

    def __init__(self, data_dir: str, network: str) -> None:
        self._directory = Path(data_dir, network)

    def reserve(self, owner: Attachment, wanted: HostLocal) -> tuple[Lease, ...]:
        """Reserve one address of each range set, the requested one where there is one: all or none.

        Raises CniError if *owner* has an address already, or a set is exhausted.
        """
        with self._locked(create=True):
            present = self._entries()
            for address, holder in present.items():
                if holder == owner:
                    raise CniError(
                        Code.ADDRESSES,
                        f"{address} has been allocated to {owner.container_id}, "
                        "duplicate allocation is not allowed",
                    )
            leases = self._choose(wanted, present)
            written: list[Path] = []
            try:
                for number, lease in enumerate(leases):
                    self._write(lease, owner, number, written)
            except OSError as error:
                written.append(self._directory / _DRAFT)
                # Also when the disk filled up half-way: host-local leaves the file behind.
                for path in written:
                    with suppress(OSError):
                        path.unlink()
                raise _failure("reserve an address", error) from error
            return leases

    def release(self, owner: Attachment) -> None:
        """Free all that *owner* has. Nothing reserved, or no ledger at all, is success."""
        with self._locked(create=False):
            for address in self._of(owner, self._entries()):
                try:
                    (self._directory / address).unlink(missing_ok=True)
                except OSError as error:
                    raise _failure(f"release {address}", error) from error

    def held_by(self, owner: Attachment) -> tuple[str, ...]:
        """Return the addresses of *owner*, as text."""
        return self._of(owner, self._entries())

    def release_others(self, valid: Collection[Attachment]) -> tuple[str, ...]:
        """Free what belongs to none of *valid*; return what could not be freed, with the reason."""
        ids = {each.container_id for each in valid}
        failures: list[str] = []
        with self._locked(create=False):
            for address, holder in self._entries().items():
                if holder in valid or (not holder.interface and holder.container_id in ids):
                    continue
                try:
                    (self._directory / address).unlink(missing_ok=True)
                except OSError as error:
                    failures.append(f"cannot release {address}: {error}")
        return tuple(failures)

    def require_room(self, wanted: HostLocal) -> None:
        """Raise CniError if a reservation would fail."""
        with self._locked(create=True):
            self._choose(wanted, self._entries())
            if not os.access(self._directory, os.W_OK):
                raise CniError(Code.IO_FAILURE, f"cannot write to {self._directory}")

    def _choose(self, wanted: HostLocal, taken: Mapping[str, Attachment]) -> tuple[Lease, ...]:
        asked = list(wanted.requested)
        leases: list[Lease] = []
        for number, ranges in enumerate(wanted.sets):
            try:
                lease = requested_lease(ranges, asked, taken)
            except ValueError as error:
                raise CniError(
                    Code.ADDRESSES, f"failed to allocate for range {number}: {error}"
                ) from error
            if lease is not None:
                asked.remove(lease.address.ip)
            else:
                lease = next_free(ranges, taken, self._last(number))
            if lease is None:
                raise CniError(
                    Code.ADDRESSES,
                    f"failed to allocate for range {number}: "
                    f"no IP addresses available in range set: {show(ranges)}",
                )
            leases.append(lease)
        if asked:
            left = ", ".join(str(each) for each in asked)
            raise CniError(Code.ADDRESSES, f"failed to allocate all requested IPs: {left}")
        return tuple(leases)

    def _write(self, lease: Lease, owner: Attachment, number: int, written: list[Path]) -> None:
        path, draft = self._directory / str(lease.address.ip), self._directory / _DRAFT
        # Written whole before it has its name: an address whose file says nothing, because the
        # runtime killed us then, could not be freed by any DEL.
        draft.unlink(missing_ok=True)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, f"{owner.container_id}\r\n{owner.interface}".encode())
        finally:
            os.close(file)
        draft.rename(path)
        written.append(path)
        self._last_path(number).write_text(str(lease.address.ip))

    def _last_path(self, number: int) -> Path:
        return self._directory / f"{_LAST}{number}"

    def _last(self, number: int) -> Address | None:
        try:
            return ip_address(self._last_path(number).read_text().strip())
        except (OSError, ValueError):  # Never written, or garbage: begin at the start.
            return None

    def _entries(self) -> dict[str, Attachment]:
        """Return who holds each address; a stray file counts as held by nobody we know."""
        entries: dict[str, Attachment] = {}
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 (names, not paths: ten times faster)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise _failure("read the reservations", error) from error
        for name in names:
            if name in (_LOCK, _DRAFT) or name.startswith(_LAST):
                continue
            try:
                content = (self._directory / name).read_text(errors="replace").strip()
            except FileNotFoundError:
                continue
            except OSError:
                content = ""
            container_id, _, interface = content.partition("\n")
            entries[name] = Attachment(container_id.strip(), interface.strip())
        return entries

    def _of(self, owner: Attachment, entries: Mapping[str, Attachment]) -> tuple[str, ...]:
        mine = tuple(address for address, holder in entries.items() if holder == owner)
        # Files of old versions of host-local hold the id only.
        legacy = Attachment(owner.container_id, "")
        return mine or tuple(address for address, holder in entries.items() if holder == legacy)

    @contextmanager
    def _locked(self, *, create: bool) -> Generator[None]:
        try:
            lock = self._open_lock(create=create)
        except OSError as error:
            raise _failure("lock the reservations", error) from error
        try:
            if lock is not None:
                # flock, as host-local does: locks of fcntl(2) would not exclude it.
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _open_lock(self, *, create: bool) -> int | None:
        path = self._directory / _LOCK
        # Read-only first: freeing nothing must work on a read-only disk.
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if not create:
                return None
        except NotADirectoryError:
            if not create:
                return None
            raise
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._directory)
            ) from error
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o750)


def _failure(what: str, error: OSError) -> CniError:
    return CniError(Code.IO_FAILURE, f"cannot {what}: {error.filename}: {error.strerror}")
