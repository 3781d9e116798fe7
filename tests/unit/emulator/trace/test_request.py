import pytest

from podwire.emulator.trace.request import Command, Connect, Fetch, Request, file_stem, parse
from podwire.errors import UsageError


@pytest.mark.parametrize(
    ("written", "request_", "text", "stem"),
    [
        (
            "http://web-svc",
            Fetch("http://web-svc/", "web-svc", 80),
            "GET http://web-svc/",
            "web-svc",
        ),
        (
            "http://web-svc:8080/a?b=c",
            Fetch("http://web-svc:8080/a?b=c", "web-svc", 8080),
            "GET http://web-svc:8080/a?b=c",
            "web-svc",
        ),
        (
            "https://10.96.0.1",
            Fetch("https://10.96.0.1/", "10.96.0.1", 443),
            "GET https://10.96.0.1/",
            "10.96.0.1",
        ),
        ("web-svc:80", Connect("web-svc", 80), "TCP web-svc:80", "web-svc"),
        ("dns:53/udp", Connect("dns", 53, "UDP"), "UDP dns:53", "dns"),
        ("udp://dns:53", Connect("dns", 53, "UDP"), "UDP dns:53", "dns"),
    ],
)
def test_requests(written: str, request_: Request, text: str, stem: str) -> None:
    assert parse(written) == request_
    assert str(request_) == text
    assert file_stem(request_) == stem


@pytest.mark.parametrize(
    ("argv", "text", "stem"),
    [
        (("/bin/wget", "-q", "http://web"), "$ /bin/wget -q http://web", "wget"),
        (("true",), "$ true", "true"),
        (
            ("sh", "-c", "for i in 1 2; do nc -z web 80; done"),
            "$ sh -c 'for i in 1 2; do nc -z web 80; done'",
            "sh",
        ),
        (("http://web",), "$ http://web", "web"),
        (("/",), "$ /", "trace"),
    ],
)
def test_commands(argv: tuple[str, ...], text: str, stem: str) -> None:
    assert str(Command(argv)) == text
    assert file_stem(Command(argv)) == stem


@pytest.mark.parametrize(
    "written",
    [
        "",
        "web-svc",
        "web-svc:",
        "web-svc:99999",
        "web:80/sctp",
        "ftp://x",
        "http://",
        "http://[::1]/",
        "[::1]:80",
    ],
)
def test_what_is_no_request(written: str) -> None:
    with pytest.raises(UsageError, match=r"\n|:"):
        parse(written)
