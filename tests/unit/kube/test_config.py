import base64
from pathlib import Path

import pytest

from podwire.errors import ConfigError, UsageError
from podwire.kube.config import load

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
    ],
)
def test_errors(
    tmp_path: Path, text: str, context: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(error, match=words):
        load([tmp_path / "config"], context)
