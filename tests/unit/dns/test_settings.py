"""The program's options, and what it takes from its environment."""

from pathlib import Path

import pytest

from podwire.dns import program, settings
from podwire.dns.settings import parse
from podwire.errors import UsageError


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["-conf", "/etc/coredns/Corefile"], "corefile", Path("/etc/coredns/Corefile")),
        (["--conf=/etc/coredns/Corefile"], "corefile", Path("/etc/coredns/Corefile")),
        ([], "corefile", None),
        ([], "port", 53),
        (["-dns.port", "1053"], "port", 1053),
        (["-dns.port=1053"], "port", 1053),
        (["-p", "1053"], "port", 1053),
        ([], "api", settings.API_SOCKET),
        (["--api", "http://127.0.0.1:8001"], "api", "http://127.0.0.1:8001"),
        ([], "user", "system:serviceaccount:kube-system:coredns"),
    ],
)
def test_options(
    argv: list[str],
    field: str,
    value: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert getattr(parse(argv, {}), field) == value


def test_inside_a_pod_the_service_account_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT", tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert parse([], environ).api == "https://10.96.0.1:443"


@pytest.mark.parametrize(
    "argv", [["-dns.port", "x"], ["-dns.port", "70000"], ["--zone=cluster.local"], ["-conf"]]
)
def test_wrong_options(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(argv, {})
    assert program.main(argv, {}) == UsageError.exit_status


@pytest.mark.parametrize(
    ("flag", "line"), [("-plugins", "kubernetes"), ("-version", "podwire-dns ")]
)
def test_what_is_printed_instead_of_serving(
    flag: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag], {})
    assert not ended.value.code
    assert any(one.startswith(line) for one in capsys.readouterr().out.splitlines())


def test_a_manifest_that_says_quiet_is_served() -> None:
    assert parse(["-quiet", "-dns.port", "5353"], {}).port == 5353
