"""What a pod may say of its resolver, and in which words it is refused."""

from typing import Any

import pytest

from podwire.emulator.apiserver.admission.defaults import default
from podwire.emulator.apiserver.admission.validation import validate
from podwire.emulator.apiserver.types.normalise import normalise

SERVER = "192.0.2.1"
MANY = [f"d{number}.example" for number in range(33)]
LONG = ["a" * 60 + f".d{number}.{'b' * 60}.{'c' * 60}" for number in range(12)]
LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
WRONG = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' "
    "or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
    rf"used for validation is '{LABEL}(\.{LABEL})*')"
)


def problems(policy: str, config: dict[str, Any] | None) -> list[str]:
    spec: dict[str, Any] = {"containers": [{"name": "a", "image": "b"}], "dnsPolicy": policy}
    if config is not None:
        spec["dnsConfig"] = config
    obj = {"metadata": {"name": "x"}, "spec": spec}
    made = default(normalise(obj, "v1", "Pod").object, "v1", "Pod")
    return [f"{one.field}: {one.message}" for one in validate(made, "v1", "Pod", None)]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"nameservers": [SERVER, "2001:db8::1", "192.0.2.2"]},
        {"searches": ["a.example", "b.example.", ".", "_tcp.a_b.example"]},
        {"searches": MANY[:32]},
        {
            "options": [
                {"name": "ndots", "value": "2"},
                {"name": "edns0"},
                {"name": "x", "value": ""},
            ]
        },
    ],
)
def test_what_may_be_said(config: dict[str, Any]) -> None:
    assert problems("ClusterFirst", config) == []
    assert problems("None", {"nameservers": [SERVER], **config}) == []


def shown(texts: list[str]) -> str:
    return "[]string{" + ", ".join(f'"{text}"' for text in texts) + "}"


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        (
            {"nameservers": [SERVER] * 4},
            "nameservers",
            f"Invalid value: {shown([SERVER] * 4)}: must not have more than 3 nameservers",
        ),
        (
            {"nameservers": ["here"]},
            "nameservers[0]",
            'Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        (
            {"searches": MANY},
            "searches",
            f"Invalid value: {shown(MANY)}: must not have more than 32 search paths",
        ),
        (
            {"searches": LONG},
            "searches",
            f"Invalid value: {shown(LONG)}: must not have more than 2048 characters "
            "(including spaces) in the search list",
        ),
        ({"searches": ["Big.example"]}, "searches[0]", f'Invalid value: "Big.example": {WRONG}'),
        ({"searches": ["a", "a_.b"]}, "searches[1]", f'Invalid value: "a_.b": {WRONG}'),
        ({"searches": ["__a"]}, "searches[0]", f'Invalid value: "__a": {WRONG}'),
        ({"searches": [".."]}, "searches[0]", f'Invalid value: ".": {WRONG}'),
        ({"searches": [""]}, "searches[0]", f'Invalid value: "": {WRONG}'),
        ({"options": [{"value": "5"}]}, "options[0]", "Required value: must not be empty"),
    ],
)
def test_what_is_refused(config: dict[str, Any], field: str, message: str) -> None:
    assert problems("Default", config) == [f"spec.dnsConfig.{field}: {message}"]


@pytest.mark.parametrize(
    ("policy", "config", "expected"),
    [
        (
            "None",
            None,
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        # And nothing else, whatever else is wrong.
        (
            "None",
            {"searches": ["Big"]},
            "spec.dnsConfig.nameservers: Required value: "
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        (
            "Strange",
            None,
            'spec.dnsPolicy: Unsupported value: "Strange": supported values: '
            '"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"',
        ),
    ],
)
def test_policies(policy: str, config: dict[str, Any] | None, expected: str) -> None:
    assert problems(policy, config) == [expected]
