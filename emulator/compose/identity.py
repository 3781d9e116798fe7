"""The cluster's certificates: made once for a container of `api`, so a kubeconfig stays good."""

import os
import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec

from podwire.emulator import certificates
from podwire.emulator.compose.settings import Settings
from podwire.kube import credentials
from podwire.kube.credentials import ClusterCertificates

# The name of the service: how containers of the project that are no pods may call us.
SERVICE = "api"


def kept(settings: Settings) -> ClusterCertificates:
    """Return the certificates of an earlier start, or new ones if they do not fit any more."""
    path = settings.state / "certificates.json"
    names = (SERVICE, f"kubernetes.default.svc.{settings.domain}")
    addresses = ("127.0.0.1", str(settings.address), str(settings.api_service))
    found = _read(path)
    if found is not None and certificates.still_fit(found, names=names, addresses=addresses):
        return found
    made = certificates.for_cluster(
        settings.cluster, dns_domain=settings.domain, names=(SERVICE,), addresses=addresses
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(credentials.encode(made))
    draft.replace(path)
    return made


def tls(certificates_: ClusterCertificates) -> ssl.SSLContext:
    """Return the server's side of TLS; clients may show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=certificates_.authority.decode())
    # OpenSSL reads a certificate from a file only; this one is never on a disk.
    handle = os.memfd_create("podwire-server", os.MFD_CLOEXEC)
    try:
        _write(handle, (certificates_.server.certificate, certificates_.server.key))
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
    return context


def _write(handle: int, parts: Sequence[bytes]) -> None:
    with os.fdopen(os.dup(handle), "wb") as file:
        file.writelines(parts)


def _read(path: Path) -> ClusterCertificates | None:
    try:
        return credentials.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
