"""Certificates on their way from the process that makes them to the one that shows them."""

from podwire.kube.credentials import ClusterCertificates, Credential, decode, encode


def test_certificates_survive_the_way() -> None:
    made = ClusterCertificates(b"CA", Credential(b"server", b"\x00key"), Credential(b"admin", b""))
    assert decode(encode(made)) == made
