"""A cluster's own certificate authority and what it signs: EC P-256, made anew for each cluster.

The only part that needs cryptography, which takes 25 ms to load: a process of its own makes them.
"""

import datetime
from collections.abc import Iterable
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podwire.kube.credentials import ClusterCertificates, Credential

# The names under which pods, nodes and this machine reach the API server.
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
SERVER_ADDRESSES = ("127.0.0.1", "192.168.1.2", "10.96.0.1")

ADMIN = "kubernetes-admin"
ADMIN_GROUP = "system:masters"

_LIFETIME = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(hours=1)  # a container's clock may be a little behind


class Authority:
    """A certificate authority whose key never leaves this object."""

    def __init__(self, common_name: str, *, now: datetime.datetime) -> None:
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common_name)
        usage = _key_usage(signs_certificates=True)
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """Return the authority's own certificate, PEM: what the other side must trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, names: Iterable[str], addresses: Iterable[str]) -> Credential:
        """Return a certificate with which a server proves that it is all of these."""
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
        extension = x509.SubjectAlternativeName(alternatives)
        return self._sign(_name("kube-apiserver"), ExtendedKeyUsageOID.SERVER_AUTH, extension)

    def client(self, user: str, *groups: str) -> Credential:
        """Return a certificate that says who a client is, as Kubernetes reads it: CN and O."""
        return self._sign(_name(user, *groups), ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _sign(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Credential(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        # Key identifiers: OpenSSL's strict checks (the default of Python 3.13) demand them.
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + _LIFETIME)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def for_cluster(
    name: str,
    *,
    dns_domain: str = "cluster.local",
    names: Iterable[str] = (),
    addresses: Iterable[str] = SERVER_ADDRESSES,
    now: datetime.datetime | None = None,
) -> ClusterCertificates:
    """Return a new authority's certificates for the cluster *name*; takes about a millisecond.

    *addresses* are those that clients connect to: this machine's, the control plane's and the
    ClusterIP of `kubernetes`; *names* are further names of the server.
    """
    authority = Authority(f"podwire-{name}-ca", now=now or datetime.datetime.now(datetime.UTC))
    names = (*SERVER_NAMES, f"kubernetes.default.svc.{dns_domain}", *names)
    return ClusterCertificates(
        authority=authority.certificate,
        server=authority.server(names, addresses),
        admin=authority.client(ADMIN, ADMIN_GROUP),
    )


def still_fit(
    kept: ClusterCertificates,
    *,
    names: Iterable[str],
    addresses: Iterable[str],
    now: datetime.datetime | None = None,
) -> bool:
    """Tell whether *kept* proves all these names and addresses of the server, and is not over."""
    server = x509.load_pem_x509_certificate(kept.server.certificate)
    shown = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        server.not_valid_after_utc > (now or datetime.datetime.now(datetime.UTC)) + _SKEW
        and set(names) <= set(shown.get_values_for_type(x509.DNSName))
        and set(addresses) <= {str(one) for one in shown.get_values_for_type(x509.IPAddress)}
    )


def _name(common_name: str, *organizations: str) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
