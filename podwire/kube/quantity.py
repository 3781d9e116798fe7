"""Pure: Kubernetes quantities (``500m``, ``64Mi``, ``1e3``): parse, compare, canonical form.

Source: k8s.io/apimachinery/pkg/api/resource. A quantity is counted here in whole billionths
(nano), the finest step that Kubernetes keeps; finer values are rounded up, as there.
"""

import re
from dataclasses import dataclass
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_NANO = 10**9
_MAX = 2**63 - 1
_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_BINARY_NAMES = {0: "", **{shift: name for name, shift in _BINARY.items()}}


class QuantityError(ValueError):
    """A text is no quantity; the message is Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount, and how it prefers to be written."""

    nano: int
    format: Format = "DecimalSI"

    def __str__(self) -> str:
        """Return the canonical form: no fraction, the largest suffix that allows that."""
        if self.format == "BinarySI" and abs(self.nano) >= 1024 * _NANO:
            return _binary(self.nano)
        digits, exponent = self.nano, -9
        if digits == 0:
            return "0"
        while digits % 10 == 0:
            digits, exponent = digits // 10, exponent + 1
        spare = exponent % 3
        digits, exponent = digits * 10**spare, exponent - spare
        if self.format == "DecimalExponent":
            return f"{digits}e{exponent}" if exponent else str(digits)
        top = min(exponent, 18)
        return f"{digits * 10 ** (exponent - top)}{_DECIMAL_NAMES[top]}"


def parse(text: str) -> Quantity:
    """Read a quantity; QuantityError when it is none."""
    match = _SHAPE.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise QuantityError(
            "quantities must match the regular expression"
            " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, whole, fraction, suffix = match[1], match[2], match[3] or "", match[4]
    factor, divisor, form = _suffix(suffix)
    # All integers: nano = digits / 10**len(fraction) * factor / divisor * 10**9, rounded up.
    amount = int(whole + fraction) * factor * _NANO
    nano = -(-amount // (divisor * 10 ** len(fraction)))
    if form == "BinarySI":
        nano = min(nano, _MAX * _NANO)
        if 0 < nano < _NANO:
            form = "DecimalSI"
    return Quantity(-nano if sign == "-" else nano, form)


def canonical(text: str) -> str:
    """Return a quantity as the API server writes it: ``1000m`` is ``1``, ``1024Ki`` ``1Mi``."""
    return str(parse(text))


def _suffix(suffix: str) -> tuple[int, int, Format]:
    """Return the factor and divisor that a suffix stands for."""
    if suffix in _BINARY:
        return 1 << _BINARY[suffix], 1, "BinarySI"
    if suffix in _DECIMAL:
        exponent, form = _DECIMAL[suffix], "DecimalSI"
    elif match := _EXPONENT.fullmatch(suffix):
        exponent, form = int(match[1]), "DecimalExponent"
    else:
        raise QuantityError("unable to parse quantity's suffix")
    decimal: Format = "DecimalExponent" if form == "DecimalExponent" else "DecimalSI"
    return 10 ** max(exponent, 0), 10 ** max(-exponent, 0), decimal


def _binary(nano: int) -> str:
    whole = -(-nano // _NANO)
    shift = 0
    while whole % 1024 == 0 and shift < 60:
        whole, shift = whole // 1024, shift + 10
    return f"{whole}{_BINARY_NAMES[shift]}"
