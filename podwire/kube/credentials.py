"""Pure: certificates and keys as PEM, what an API server and its administrator show each other."""

import hmac

import msgspec


class Credential(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class ClusterCertificates(msgspec.Struct, frozen=True):
    """All that a cluster's API server and its administrator need."""

    authority: bytes
    server: Credential
    admin: Credential


def token_key(certificates: ClusterCertificates) -> bytes:
    """Return the key that signs the tokens of a cluster's ServiceAccounts.

    Made from what only the API server has and a restart leaves: tokens live as long as the
    kubeconfig of the cluster does.
    """
    return hmac.digest(certificates.server.key, b"podwire: tokens of ServiceAccounts", "sha256")


def encode(certificates: ClusterCertificates) -> bytes:
    """Return them as bytes, for a file that only its owner reads."""
    return msgspec.json.encode(certificates)


def decode(data: bytes) -> ClusterCertificates:
    """Return what `encode` wrote."""
    return msgspec.json.decode(data, type=ClusterCertificates)
