"""Which API server, and as whom: one context of a kubeconfig, read as kubectl reads it."""

import base64
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from podwire.errors import ConfigError, UsageError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server. Certificates and key are PEM; empty ones are absent."""

    server: str
    context: str = ""
    namespace: str = "default"
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    verify: bool = True

    def tls(self) -> ssl.SSLContext | None:
        """Return the context for an https server, None for a plain one. Raises ConfigError."""
        if not self.server.startswith("https://"):
            return None
        try:
            return self._tls()
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"the context {self.context!r} has a certificate or key that is none: {error}"
            ) from error

    def _tls(self) -> ssl.SSLContext:
        tls = ssl.create_default_context(cadata=self.authority.decode() or None)
        if not self.verify:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if self.certificate:
            # OpenSSL reads a certificate from a file only; this one is never on a disk.
            handle = os.memfd_create("podwire-certificate", os.MFD_CLOEXEC)
            try:
                os.write(handle, self.certificate + b"\n" + self.key)
                tls.load_cert_chain(f"/proc/self/fd/{handle}")
            finally:
                os.close(handle)
        return tls


def load(paths: Sequence[Path], context: str = "") -> Access:
    """Return the access that *context* (default: the current one) of these files gives.

    Files are merged as kubectl does: what an earlier file says holds. Raises UsageError when there
    is no such context, ConfigError for a broken file.
    """
    configs = [_read(path) for path in paths if os.path.exists(path)]  # noqa: PTH110 - never raises
    current = context or next(
        (c["current-context"] for c in configs if c.get("current-context")), ""
    )
    shown = os.pathsep.join(map(str, paths))
    if not current:
        raise UsageError(f"no context is current in {shown}\n  start a cluster: podwire up")
    entry = _named(configs, "contexts", current, "context")
    if entry is None:
        raise UsageError(f"there is no context {current!r} in {shown}\n  see what runs: podwire ls")
    cluster = _named(configs, "clusters", str(entry.get("cluster", "")), "cluster")
    user = _named(configs, "users", str(entry.get("user", "")), "user") or {}
    if cluster is None or not cluster.get("server"):
        raise ConfigError(f"{shown}: the context {current!r} names no server")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        context=current,
        namespace=str(entry.get("namespace") or "default"),
        authority=_bytes(cluster, "certificate-authority"),
        certificate=_bytes(user, "client-certificate"),
        key=_bytes(user, "client-key"),
        token=str(user.get("token") or ""),
        verify=not cluster.get("insecure-skip-tls-verify"),
    )


def from_document(config: Mapping[str, Any]) -> Access:
    """Return the access that a kubeconfig with one context gives."""
    cluster: Json = config["clusters"][0]["cluster"]
    user: Json = config["users"][0]["user"]
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        context=str(config["current-context"]),
        authority=_bytes(cluster, "certificate-authority"),
        certificate=_bytes(user, "client-certificate"),
        key=_bytes(user, "client-key"),
    )


def _read(path: Path) -> Json:
    try:
        config: object = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict | None):
        raise ConfigError(f"{path}: no kubeconfig")
    folder = path.parent
    found = cast("Json", config or {})
    for section, inner in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
        items: object = found.get(section) or []
        if not isinstance(items, list):
            raise ConfigError(f"{path}: {section} is no list")
        for item in cast("list[object]", items):
            entry = cast("Json", item) if isinstance(item, dict) else {}
            values: object = entry.get(inner) or {}
            if "name" not in entry or not isinstance(values, dict):
                raise ConfigError(f"{path}: {section} has an entry that is no {inner} with a name")
            values = cast("Json", values)
            for key in ("certificate-authority", "client-certificate", "client-key"):
                if values.get(key):  # a file, relative to the kubeconfig's folder
                    values[key] = str(folder / str(values[key]))
    return found


def _named(configs: Sequence[Json], section: str, name: str, inner: str) -> Json | None:
    for config in configs:
        for item in cast("list[Json]", config.get(section) or []):
            if item.get("name") == name:
                return cast("Json", item.get(inner) or {})
    return None


def _bytes(values: Json, key: str) -> bytes:
    try:
        if values.get(f"{key}-data"):
            return base64.b64decode(values[f"{key}-data"])
        return Path(values[key]).read_bytes() if values.get(key) else b""
    except OSError as error:
        raise ConfigError(f"cannot read {values[key]} ({key}): {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}-data of a kubeconfig is no base64: {error}") from error
