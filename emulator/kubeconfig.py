"""The context `podwire-NAME` in the user's kubeconfig: merged, removed, pruned.

Never touches an entry that is not ours (name `podwire-...` and the extension `podwire.dev`), keeps
comments and order (kubeconfig_text), writes by replacing the file at once, with mode 0600, under
kubectl's own lock.
"""

import base64
import errno
import os
import pwd
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from podwire.emulator.kubeconfig_lock import give, locked, make_folder
from podwire.errors import ConfigError, PodwireError, UsageError

EXTENSION = "podwire.dev"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Which kernel, network namespace and user a cluster belongs to; only these can miss it."""

    host: str
    boot: str
    network: str
    user: int

    @classmethod
    def here(cls) -> "Origin":
        """Return the origin of this process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = os.readlink("/proc/self/ns/net")  # noqa: PTH115 - no path, a name in brackets
        return cls(os.uname().nodename, boot, network, os.getuid())


def context_name(cluster: str) -> str:
    """Return the name under which *cluster* stands in a kubeconfig."""
    return f"podwire-{cluster}"


def document(
    cluster: str, *, server: str, authority: bytes, certificate: bytes, key: bytes
) -> Json:
    """Return a whole kubeconfig for one cluster; the last three are PEM."""
    name = context_name(cluster)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"certificate-authority-data": _base64(authority), "server": server},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _base64(certificate),
                    "client-key-data": _base64(key),
                },
            }
        ],
        "current-context": name,
    }


def default_path(environ: Mapping[str, str]) -> Path:
    """Return the file that kubectl would write a new context to.

    Of several files in $KUBECONFIG the first that exists, else the last (client-go's
    PathOptions.GetDefaultFilename); without the variable ~/.kube/config. Raises UsageError.
    """
    paths = all_paths(environ)
    if not paths:
        raise UsageError(
            "you have no home, so there is no ~/.kube/config\n"
            "  name a file: --kubeconfig PATH, or the variable KUBECONFIG"
        )
    # Not Path.exists, which raises where we may not look.
    return next((path for path in paths if os.path.exists(path)), paths[-1])  # noqa: PTH110


def all_paths(environ: Mapping[str, str]) -> list[Path]:
    """Return all files that kubectl would read, in its order."""
    listed = [Path(item) for item in environ.get("KUBECONFIG", "").split(os.pathsep) if item]
    if listed:
        return listed
    folder = home(environ)
    return [folder / ".kube" / "config"] if folder else []


def home(environ: Mapping[str, str]) -> Path | None:
    """Return the user's home: $HOME, else what the machine's list of users says."""
    try:
        return Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def check(path: Path) -> None:
    """Find out, and change nothing, whether `merge` can write to *path*; raises UsageError."""
    with _about(path):
        _refuse_unwritable(path)
        _parsed(_text_of(path), path)


def merge(path: Path, cluster: str, entry: Json, origin: Origin) -> None:
    """Put the context of *cluster* into *path* and make it the current one.

    *entry* is a kubeconfig with that one context (see `document`). The context that was current
    before is remembered, for `remove` to restore. Raises ConfigError when *path* is no
    kubeconfig, UsageError when it cannot be written, TimedOut when its lock stays taken.
    """
    from podwire.emulator import kubeconfig_text  # noqa: PLC0415 - YAML: 18 ms of `podwire ls`

    name = context_name(cluster)
    with _writing(path):
        text = _text_of(path)
        config = _parsed(text, path)
        previous = config.get("current-context") or ""
        if previous == name:
            previous = _previous(config, name)
        mark = {
            "name": EXTENSION,
            "extension": {
                "cluster": cluster,
                "host": origin.host,
                "boot": origin.boot,
                "network": origin.network,
                "user": origin.user,
                **({"previousContext": previous} if previous else {}),
            },
        }
        added = {section: entry[section][0] for section in kubeconfig_text.SECTIONS}
        added["contexts"] = {
            "name": name,
            "context": {**added["contexts"]["context"], "extensions": [mark]},
        }
        _replace(path, kubeconfig_text.with_entries(text, name, added, current=name))


def remove(path: Path, cluster: str) -> bool:
    """Take the context of *cluster* out of *path*; return whether it was there and ours.

    Raises as `merge` does.
    """

    def is_it(config: Json, name: str) -> bool:
        return _owner(config, name) == cluster

    return bool(_remove(path, is_it))


def is_kept(path: Path, context: str) -> bool:
    """Tell whether `merge` put *context* into *path*; such contexts alone are ever pruned."""
    try:
        text = _text_of(path)
        return EXTENSION in text and _mark(_parsed(text, path), context) is not None
    except (OSError, PodwireError):
        return False


def prune(path: Path, running: Collection[str], origin: Origin) -> list[str]:
    """Take out of *path* the contexts of clusters that are gone; return the clusters' names.

    Only of clusters whose absence can be known from here: of another boot of this machine, or of
    this user in this network namespace and not *running*.
    """

    def is_gone(config: Json, name: str) -> bool:
        mark = _mark(config, name)
        if mark is None or mark.get("host") != origin.host:
            return False
        if mark.get("boot") != origin.boot:
            return True
        here = mark.get("network") == origin.network and mark.get("user") == origin.user
        return here and mark.get("cluster") not in running

    return _remove(path, is_gone)


def _remove(path: Path, unwanted: Callable[[Json, str], bool]) -> list[str]:
    # Most calls find nothing of ours; a look at the bytes spares them the YAML reader (18 ms).
    try:
        if EXTENSION.encode() not in path.read_bytes():
            return []
    except OSError:
        return []  # absent or not readable: nothing of ours that we could take out
    from podwire.emulator import kubeconfig_text  # noqa: PLC0415 - YAML: 18 ms of `podwire ls`

    def found(config: Json) -> list[str]:
        return [
            item["name"]
            for item in _items(config, "contexts")
            if _owner(config, item["name"]) is not None and unwanted(config, item["name"])
        ]

    # A file in which nothing is to change need not be writable. One that makes no sense may be half
    # written: then the lock is waited for.
    with suppress(ConfigError):
        if not found(_parsed(_text_of(path), path)):
            return []
    with _writing(path):
        text = _text_of(path)
        config = _parsed(text, path)
        names = found(config)
        if not names:
            return []
        gone = [str(_owner(config, name)) for name in names]
        current = str(config.get("current-context") or "")
        while current in names:
            names_left = {item["name"] for item in _items(config, "contexts")} - set(names)
            previous = _previous(config, current)
            current = previous if previous in names_left or previous in names else ""
        _replace(path, kubeconfig_text.without_entries(text, names, current=current))
        return gone


def _previous(config: Json, name: str) -> str:
    mark = _mark(config, name) or {}
    previous = str(mark.get("previousContext") or "")
    return "" if previous == name else previous


def _owner(config: Json, name: str) -> str | None:
    """Return the cluster to which the context *name* belongs, or None if it is not ours."""
    mark = _mark(config, name)
    if mark is None:
        return None
    cluster = str(mark.get("cluster", ""))
    return cluster if context_name(cluster) == name else None


def _mark(config: Json, name: str) -> Json | None:
    for item in _items(config, "contexts"):
        if item.get("name") == name:
            context: Json = item.get("context") or {}
            for extension in cast("list[Json]", context.get("extensions") or []):
                if extension.get("name") == EXTENSION:
                    return cast("Json", extension.get("extension") or {})
    return None


def _items(config: Json, section: str) -> list[Json]:
    return cast("list[Json]", config.get(section) or [])


def _parsed(text: str, path: Path) -> Json:
    from podwire.emulator import kubeconfig_text  # noqa: PLC0415 - YAML: 18 ms of `podwire ls`

    try:
        return kubeconfig_text.parsed(text)
    except ValueError as error:
        raise ConfigError(
            f"{path} is no kubeconfig: {error}\n"
            "  mend it, or keep out of it: podwire up --kubeconfig ANOTHER-FILE"
        ) from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no kubeconfig: {error}\n"
            "  keep out of it: podwire up --kubeconfig ANOTHER-FILE"
        ) from error


@contextmanager
def _about(path: Path) -> Generator[None, None, None]:
    """Say of which file the kernel speaks, and what to do about it."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write the kubeconfig {path}: {error.strerror}\n"
            "  make it writable, or keep out of it: podwire up --kubeconfig ANOTHER-FILE"
        ) from error


@contextmanager
def _writing(path: Path) -> Generator[None, None, None]:
    with _about(path):
        _refuse_unwritable(path)
        with locked(path):
            yield


def _refuse_unwritable(path: Path) -> None:
    target = Path(os.path.realpath(path))
    # Replacing needs a folder's permission only. But who made a file read-only means it, kubectl
    # does not write to it either, and root would replace a device (KUBECONFIG=/dev/null).
    if os.path.lexists(target):
        target.stat()  # says of a link that it leads in a circle
        if not target.is_file():
            raise OSError(errno.EINVAL, "it is no plain file")
        if not os.access(target, os.W_OK):
            readable = os.access(target, os.R_OK)
            raise PermissionError(
                errno.EACCES, "it is read-only" if readable else os.strerror(errno.EACCES)
            )
    for folder in (path.parent, target.parent):  # of the lock, of the file
        there = folder
        while not os.path.lexists(there):
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _replace(path: Path, text: str) -> None:
    """Replace the file's content at once, through links, for this user's eyes only."""
    target = Path(os.path.realpath(path))
    make_folder(target.parent)
    draft = target.with_name(f".{target.name}.podwire-{os.getpid()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            os.fchmod(handle, 0o600)
            give(handle, like=target if target.exists() else target.parent)
            file.write(text)
            file.flush()
            os.fsync(handle)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
