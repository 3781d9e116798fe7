"""Pure: the formats of texts that a CustomResourceDefinition may ask for.

Formats that Kubernetes does not know are no rule. Source: kube-openapi/pkg/validation/strfmt and
apiextensions-apiserver/pkg/apiserver/validation/formats.go.
"""

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
    r"(\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*\.?",
    re.ASCII,
)
_EMAIL = re.compile(r"[^@\s<>(),:;\"\[\]]+@[^@\s<>(),:;\"\[\]]+", re.ASCII)
_GO_DURATION = re.compile(r"[+-]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_WORD_DURATION = re.compile(
    r"\d+(\.\d+)?\s*(ns?|nanos?|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?"
    r"|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|wks?)",
    re.ASCII,
)
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[tT ](\d\d):(\d\d):(\d\d)(\.\d+)?([zZ]|[+-]\d\d:?\d\d)", re.ASCII
)
_MAC = re.compile(
    r"([0-9a-f]{2}[:-]){5}([0-9a-f]{2})|([0-9a-f]{2}[:-]){7}[0-9a-f]{2}|([0-9a-f]{4}\.){2,3}[0-9a-f]{4}",
    re.ASCII | re.IGNORECASE,
)


def holds(form: str, value: str) -> bool:
    """Tell whether *value* has the format *form*."""
    check = _FORMATS.get(form.replace("-", ""))
    return check is None or check(value)


def _matching(pattern: str, flags: re.RegexFlag = re.ASCII) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda value: compiled.fullmatch(value) is not None


def _uuid(version: str, variant: str = "[0-9a-f]") -> Callable[[str], bool]:
    sign = "[0-9a-f]"
    parts = (f"{sign}{{8}}", f"{sign}{{4}}", f"{version}{sign}{{3}}", f"{variant}{sign}{{3}}")
    return _matching("-?".join((*parts, f"{sign}{{12}}")), re.ASCII | re.IGNORECASE)


def _parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            read(value)
        except ValueError:
            return False
        return True

    return check


def _uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    blank = any(sign.isspace() or sign < " " for sign in value)
    return not blank and (value.startswith("/") or bool(parts.scheme))


def _cidr(value: str) -> bool:
    return "/" in value and _parses(lambda text: ipaddress.ip_network(text, strict=False))(value)


def _base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date_time(value: str) -> bool:
    match = _DATE_TIME.fullmatch(value)
    if match is None or not _parses(datetime.date.fromisoformat)(match[1]):
        return False
    return int(match[2]) < 24 and int(match[3]) < 60 and int(match[4]) < 60


def _isbn10(value: str) -> bool:
    digits = re.sub(r"[\s-]", "", value)
    if not re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII):
        return False
    weights = (10 if sign == "X" else int(sign) for sign in digits)
    return sum(weight * (10 - place) for place, weight in enumerate(weights)) % 11 == 0


def _isbn13(value: str) -> bool:
    digits = re.sub(r"[\s-]", "", value)
    if not re.fullmatch(r"\d{13}", digits, re.ASCII):
        return False
    return sum(int(sign) * (3 if place % 2 else 1) for place, sign in enumerate(digits)) % 10 == 0


def _duration(value: str) -> bool:
    return bool(_GO_DURATION.fullmatch(value) or _WORD_DURATION.fullmatch(value))


_FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matching("[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": lambda value: _EMAIL.fullmatch(value) is not None,
    "hostname": lambda value: _HOSTNAME.fullmatch(value) is not None,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": lambda value: _MAC.fullmatch(value) is not None,
    "uuid": _uuid("[0-9a-f]"),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda value: _isbn10(value) or _isbn13(value),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "ssn": _matching(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matching("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matching(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "byte": _base64,
    "date": _parses(datetime.date.fromisoformat),
    "duration": _duration,
    "datetime": _date_time,
}
