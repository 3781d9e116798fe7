"""Pure: the syntax of names, labels, ports and their like: what is wrong, in Kubernetes' words.

Every function returns the messages for one value, none if it is good.
Source: k8s.io/apimachinery/pkg/util/validation and pkg/api/validation.
"""

import ipaddress
import re
from collections.abc import Callable

Check = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SEARCH_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH_DOMAIN = rf"{_SEARCH_LABEL}(\.{_SEARCH_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"


def _regex(message: str, pattern: str, *examples: str) -> str:
    """Return Kubernetes' sentence for a value that does not match."""
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _at_most(limit: int) -> str:
    return f"must be no more than {limit} characters"


def label(value: str) -> list[str]:
    """Check a DNS label (RFC 1123)."""
    problems = [_at_most(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL, value):
        if re.fullmatch(_SUBDOMAIN, value):
            return [*problems, "must not contain dots"]
        message = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or"
            " '-', and must start and end with an alphanumeric character"
        )
        problems.append(_regex(message, _LABEL, "my-name", "123-abc"))
    return problems


def label_1035(value: str) -> list[str]:
    """Check a DNS label as RFC 1035 has it: it begins with a letter."""
    problems = [_at_most(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL_1035, value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start"
            " with an alphabetic character, and end with an alphanumeric character"
        )
        problems.append(_regex(message, _LABEL_1035, "my-name", "abc-123"))
    return problems


def subdomain(value: str) -> list[str]:
    """Check a DNS name (RFC 1123)."""
    problems = [_at_most(253)] if len(value) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters,"
            " '-' or '.', and must start and end with an alphanumeric character"
        )
        problems.append(_regex(message, _SUBDOMAIN, "example.com"))
    return problems


def search_domain(value: str) -> list[str]:
    """Check a search domain of a resolver: a DNS name whose labels may hold underscores.

    Those that end in a dot, and the root by itself, are the caller's (KEP-4427).
    """
    problems = [_at_most(253)] if len(value) > 253 else []
    if not re.fullmatch(_SEARCH_DOMAIN, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters,"
            " '_', '-' or '.', and must start and end with an alphanumeric character"
        )
        problems.append(_regex(message, _SEARCH_DOMAIN, "example.com"))
    return problems


def wildcard_subdomain(value: str) -> list[str]:
    """Check a DNS name whose first label is ``*``."""
    problems = [_at_most(253)] if len(value) > 253 else []
    pattern = rf"\*\.{_SUBDOMAIN}"
    if not re.fullmatch(pattern, value):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS"
            " subdomain, which must consist of lower case alphanumeric characters, '-' or '.'"
            " and end with an alphanumeric character"
        )
        problems.append(_regex(message, pattern, "*.example.com"))
    return problems


def path_segment(value: str) -> list[str]:
    """Check a name that only has to fit into a URL (roles, bindings)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{sign}'" for sign in ("/", "%") if sign in value]


def qualified_name(value: str) -> list[str]:
    """Check a key of labels or annotations: ``name`` or ``prefix.example/name``."""
    message = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with"
        " an alphanumeric character"
    )
    wrong = _regex(message, _QUALIFIED, "MyName", "my.name", "123-abc")
    parts = value.split("/")
    if len(parts) > 2:
        optional = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {wrong}{optional}"]
    problems: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {problem}" for problem in subdomain(parts[0])]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append(f"name part {_at_most(63)}")
    if not re.fullmatch(_QUALIFIED, name):
        problems.append(f"name part {wrong}")
    return problems


def label_value(value: str) -> list[str]:
    """Check a label's value."""
    problems = [_at_most(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL_VALUE, value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-',"
            " '_' or '.', and must start and end with an alphanumeric character"
        )
        problems.append(_regex(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return problems


def port_number(value: int) -> list[str]:
    """Check a port."""
    return in_range(value, 1, 65535)


def in_range(value: int, low: int, high: int) -> list[str]:
    """Check that a number is in a range, both ends included."""
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port_name(value: str) -> list[str]:
    """Check a port's name (RFC 6335, lower case)."""
    problems = [_at_most(15)] if len(value) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def port(value: int | str) -> list[str]:
    """Check a port's number or name."""
    return port_name(value) if isinstance(value, str) else port_number(value)


def config_key(value: str) -> list[str]:
    """Check a key of a ConfigMap or Secret."""
    problems = [_at_most(253)] if len(value) > 253 else []
    if not re.fullmatch(_CONFIG_KEY, value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(_regex(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return problems + _no_parent(value)


def _no_parent(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def environment_name(value: str) -> list[str]:
    """Check the name of an environment variable, as leniently as 1.32 does."""
    problems = [] if value else ["environment variable name must be non-empty"]
    if any(not " " <= sign <= "~" or sign == "=" for sign in value):
        problems.append(
            "a valid environment variable name must consist only of printable ASCII characters"
            " other than '='"
        )
    return problems


def header_name(value: str) -> list[str]:
    """Check the name of an HTTP header."""
    if re.fullmatch(_HEADER, value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_regex(message, _HEADER, "X-Header-Name")]


def percent(value: str) -> list[str]:
    """Check a percentage."""
    if re.fullmatch(_PERCENT, value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_regex(message, _PERCENT, "1%", "93%")]


def address(value: str) -> list[str]:
    """Check an IP address of either family."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def network(value: str) -> list[str]:
    """Check a CIDR."""
    try:
        ipaddress.ip_network(value if "/" in value else "", strict=False)
    except ValueError:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    return []


def prefix_of(check: Check, value: str) -> list[str]:
    """Check a generateName: five characters will follow, so it may end in a dash."""
    return check(value[:-2] + "a" if len(value) > 1 and value.endswith("-") else value)
