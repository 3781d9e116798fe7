import base64
from pathlib import Path

import pytest

from podwire.errors import ConfigError, UsageError
from podwire.kube.config import Access, load

CONFIG = """
clusters: [{name: c, cluster: {server: "https://1.2.3.4:6443/", certificate-authority: ca.crt}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: here, context: {cluster: c, user: u, namespace: shop}}]
current-context: here
"""


def test_a_context_with_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"PEM")
    (tmp_path / "config").write_text(CONFIG)
    access = load([tmp_path / "config"])
    assert (access.server, access.namespace, access.token, access.authority) == (
        "https://1.2.3.4:6443", "shop", "secret", b"PEM")  # fmt: skip


def test_what_an_earlier_file_says_holds(tmp_path: Path) -> None:
    data = base64.b64encode(b"X").decode()
    (tmp_path / "b").write_text(CONFIG.replace("certificate-authority: ca.crt", "a: b"))
    (tmp_path / "a").write_text(
        f"users: [{{name: u, user: {{token: other, client-key-data: {data}}}}}]"
    )
    access = load([tmp_path / "none", tmp_path / "a", tmp_path / "b"])
    assert (access.token, access.key, access.context) == ("other", b"X", "here")


@pytest.mark.parametrize(
    ("text", "context", "error", "words"),
    [
        ("", "", UsageError, "no context is current"),
        (CONFIG, "there", UsageError, "there is no context 'there'"),
        (CONFIG.replace("cluster: c,", "cluster: d,"), "", ConfigError, "names no server"),
        ("[]", "", ConfigError, "no kubeconfig"),
        ("a: b: c", "", ConfigError, "mapping values"),
        ("clusters: 3", "", ConfigError, "clusters is no list"),
        ("users: [null]", "", ConfigError, "users has an entry that is no user with a name"),
        ("users: [{name: u, user: x}]", "", ConfigError, "users has an entry that is no user"),
        (CONFIG, "", ConfigError, r"cannot read .*ca.crt \(certificate-authority\): No such file"),
        (
            CONFIG.replace("certificate-authority: ca.crt", "certificate-authority-data: abc"),
            "",
            ConfigError,
            "certificate-authority-data of a kubeconfig is no base64",
        ),
    ],
)
def test_errors(
    tmp_path: Path, text: str, context: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(error, match=words):
        load([tmp_path / "config"], context)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load([tmp_path])
    (tmp_path / "bytes").write_bytes(b"\x93\xff")
    with pytest.raises(ConfigError, match="bytes: "):
        load([tmp_path / "bytes"])


@pytest.mark.parametrize(
    "access",
    [
        Access("https://h", "there", authority=b"no PEM"),
        Access("https://h", "there", authority=b"\xff"),
        Access("https://h", "there", certificate=b"no PEM", key=b"no PEM"),
    ],
)
def test_certificates_that_are_none(access: Access) -> None:
    with pytest.raises(ConfigError, match="the context 'there' has a certificate"):
        access.tls()
