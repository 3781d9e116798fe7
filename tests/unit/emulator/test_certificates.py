import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from podwire.emulator.certificates import for_cluster
from podwire.kube.config import Access
from podwire.kube.credentials import ClusterCertificates


@pytest.fixture(scope="module")
def certificates() -> ClusterCertificates:
    return for_cluster("blue")


def test_the_server_certificate_has_every_name_of_the_api_server(
    certificates: ClusterCertificates,
) -> None:
    server = x509.load_pem_x509_certificate(certificates.server.certificate)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local"}  # fmt: skip
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {
        "127.0.0.1", "192.168.1.2", "10.96.0.1"}  # fmt: skip


def test_the_client_is_kubernetes_admin_of_system_masters(
    certificates: ClusterCertificates,
) -> None:
    admin = x509.load_pem_x509_certificate(certificates.admin.certificate)
    assert admin.subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"


def test_validity_is_counted_from_the_given_time() -> None:
    now = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
    made = x509.load_pem_x509_certificate(for_cluster("x", now=now).server.certificate)
    assert made.not_valid_before_utc == now - datetime.timedelta(hours=1)
    assert made.not_valid_after_utc == now + datetime.timedelta(days=365)


@pytest.mark.parametrize(
    ("trusted", "works"), [("the cluster's own", True), ("another cluster's", False)]
)
def test_both_sides_prove_themselves_to_openssl_at_its_strictest(
    certificates: ClusterCertificates, tmp_path: Path, trusted: str, *, works: bool
) -> None:
    authority = certificates.authority if works else for_cluster("other").authority
    pem = tmp_path / "server.pem"
    pem.write_bytes(certificates.server.certificate + certificates.server.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.verify_flags |= ssl.VERIFY_X509_STRICT
    serving.load_cert_chain(pem)
    serving.load_verify_locations(cadata=certificates.authority.decode())
    serving.verify_mode = ssl.CERT_REQUIRED
    access = Access(
        server="https://127.0.0.1",
        authority=authority,
        certificate=certificates.admin.certificate,
        key=certificates.admin.key,
    )
    asking = access.tls()
    assert asking is not None
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = socket.socketpair()
    seen = list[object]()

    def serve() -> None:
        try:
            with serving.wrap_socket(there, server_side=True) as tls:
                seen.append(tls.getpeercert())
                tls.send(b"ok")
        except (ssl.SSLError, OSError):
            there.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        if works:
            with asking.wrap_socket(here, server_hostname="127.0.0.1") as tls:
                assert tls.recv(2) == b"ok"
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                asking.wrap_socket(here, server_hostname="127.0.0.1")
    finally:
        here.close()
        server.join(10)
    assert bool(seen) is works
