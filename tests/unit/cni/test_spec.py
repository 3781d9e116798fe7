"""The words of the specification: call parameters, errors, versions."""

from collections.abc import Mapping

import pytest

from podwire.cni.spec import (
    Attachment,
    CniError,
    parse_call,
    version_document,
)

ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}


def test_call() -> None:
    call = parse_call({**ADD, "CNI_ARGS": "A=1;B=x y;", "CNI_PATH": "/opt/cni/bin::/usr/lib/cni"})
    assert call.command == "ADD"
    assert call.attachment == Attachment("c1", "eth0")
    assert call.namespace == "/n"
    assert dict(call.arguments) == {"A": "1", "B": "x y"}
    assert call.plugin_path == ("/opt/cni/bin", "/usr/lib/cni")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CNI_COMMAND": ""}, "required env variables [CNI_COMMAND] missing"),
        ({"CNI_COMMAND": "FROB"}, "unknown CNI_COMMAND: FROB"),
        ({"CNI_COMMAND": "add"}, "unknown CNI_COMMAND: add"),
        ({"CNI_NETNS": "", "CNI_IFNAME": ""}, "[CNI_IFNAME,CNI_NETNS] missing"),
        ({"CNI_CONTAINERID": "a/b"}, "invalid characters in containerID: CNI_CONTAINERID='a/b'"),
        ({"CNI_CONTAINERID": "abc\n"}, "invalid characters in containerID"),
        ({"CNI_CONTAINERID": "-x"}, "invalid characters in containerID"),
        ({"CNI_IFNAME": "sixteen-letters-"}, "interface name is too long"),
        ({"CNI_IFNAME": "äöüäöüäö"}, "interface name is too long"),
        ({"CNI_IFNAME": ".."}, "interface name is . or .."),
        ({"CNI_IFNAME": "a:b"}, "contains / or : or whitespace"),
        ({"CNI_IFNAME": "eth%d"}, "not usable: CNI_IFNAME='eth%d'"),
        ({"CNI_IFNAME": "all"}, "not usable: CNI_IFNAME='all'"),
        ({"CNI_IFNAME": "e\x01"}, "not usable: CNI_IFNAME="),
        ({"CNI_IFNAME": "e\udcff"}, "not usable: CNI_IFNAME="),
        ({"CNI_ARGS": "FOO"}, "ARGS: invalid pair \"FOO\": CNI_ARGS='FOO'"),
        ({"CNI_ARGS": "A=1;B=1=2"}, 'ARGS: invalid pair "B=1=2"'),
    ],
)
def test_bad_call(change: Mapping[str, str], words: str) -> None:
    with pytest.raises(CniError) as raised:
        parse_call({**ADD, **change})
    assert raised.value.code == 4
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("command", "lacks", "fine"),
    [
        ("DEL", "CNI_NETNS", True),
        ("CHECK", "CNI_NETNS", False),
        ("DEL", "CNI_IFNAME", False),
        ("STATUS", "CNI_CONTAINERID", True),
        ("GC", "CNI_IFNAME", True),
        ("VERSION", "CNI_CONTAINERID", True),
    ],
)
def test_needed_variables(command: str, lacks: str, fine: bool) -> None:  # noqa: FBT001
    environ = {**ADD, "CNI_COMMAND": command, lacks: ""}
    if fine:
        assert parse_call(environ).command == command
    else:
        with pytest.raises(CniError, match=lacks):
            parse_call(environ)


def test_error_document() -> None:
    assert CniError(7, "no", "because").document("1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": "no",
        "details": "because",
    }
    assert "details" not in CniError(7, "no").document("1.0.0")


def test_version_document() -> None:
    assert version_document("0.4.0")["cniVersion"] == "0.4.0"
    assert version_document("")["cniVersion"] == "1.1.0"
