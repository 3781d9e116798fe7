"""The kubeconfig in the project's folder, and certificates that last."""

import datetime
import ssl
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from podwire.emulator import certificates, kubeconfig
from podwire.emulator.compose import identity, out
from podwire.emulator.compose.settings import Settings
from podwire.errors import MachineError

KUBECONFIG = kubeconfig.document(
    "compose", server="https://127.0.0.1:6443", authority=b"a", certificate=b"c", key=b"k"
)


def test_it_is_private_and_has_the_folder_for_captures_beside_it(tmp_path: Path) -> None:
    path = out.write(tmp_path, KUBECONFIG)
    assert path == tmp_path / "kubeconfig"
    assert path.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(path.read_text())["current-context"] == "podwire-compose"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kubeconfig", "pcaps"]


def test_an_older_one_of_ours_is_replaced(tmp_path: Path) -> None:
    for server in ("https://127.0.0.1:1", "https://127.0.0.1:2"):
        out.write(tmp_path, kubeconfig.document(
            "x", server=server, authority=b"", certificate=b"", key=b""))  # fmt: skip
    assert "127.0.0.1:2" in (tmp_path / "kubeconfig").read_text()


@pytest.mark.parametrize(
    "held",
    [
        "contexts: [{name: work, context: {}}]",
        "contexts: [{name: work, context: {}}, {name: podwire-x, context: {}}]",
        "my notes",
        "a: [",
    ],
)
def test_what_is_not_ours_stays(tmp_path: Path, held: str) -> None:
    (tmp_path / "kubeconfig").write_text(held)
    with pytest.raises(MachineError, match="move it away"):
        out.write(tmp_path, KUBECONFIG)
    assert (tmp_path / "kubeconfig").read_text() == held


def test_without_the_folder_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"\n  let `api` mount a folder .*docker compose up"):
        out.write(tmp_path / "gone", KUBECONFIG)


def settings(tmp_path: Path, address: str = "10.201.0.2") -> Settings:
    return Settings(state=tmp_path, address=IPv4Address(address))


def test_certificates_stay_until_they_do_not_fit(tmp_path: Path) -> None:
    first = identity.kept(settings(tmp_path))
    assert identity.kept(settings(tmp_path)) == first
    assert (tmp_path / "certificates.json").stat().st_mode & 0o777 == 0o600
    moved = identity.kept(settings(tmp_path, "10.202.0.2"))
    assert moved != first
    assert identity.kept(settings(tmp_path, "10.202.0.2")) == moved


def test_certificates_that_end_soon_do_not_fit() -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = certificates.for_cluster("x", names=("api",), addresses=("10.0.0.1",), now=now)

    def fit(days: float, *names: str, addresses: tuple[str, ...] = ("10.0.0.1",)) -> bool:
        later = now + datetime.timedelta(days=days)
        return certificates.still_fit(made, names=names, addresses=addresses, now=later)

    assert fit(364, "api", "localhost")
    assert not fit(365, "api")
    assert not fit(0, "api", "other")
    assert not fit(0, addresses=("10.0.0.2",))


def test_broken_certificates_are_made_anew(tmp_path: Path) -> None:
    (tmp_path / "certificates.json").write_text("{")
    assert identity.kept(settings(tmp_path)) == identity.kept(settings(tmp_path))


def test_they_serve_tls(tmp_path: Path) -> None:
    context = identity.tls(identity.kept(settings(tmp_path)))
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert len(context.get_ca_certs()) == 1
