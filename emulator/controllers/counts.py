"""Pure: counts that may be given as a percentage."""

from podwire.kube.objects import IntOrString


def scaled_up(value: IntOrString, total: int) -> int:
    """Return the count that *value* means of *total*; a percentage is rounded up."""
    share = _percent(value)
    return int(value) if share is None else -(-share * total // 100)


def scaled_down(value: IntOrString, total: int) -> int:
    """Return the count that *value* means of *total*; a percentage is rounded down."""
    share = _percent(value)
    return int(value) if share is None else share * total // 100


def _percent(value: IntOrString) -> int | None:
    if isinstance(value, str) and value.endswith("%"):
        return int(value[:-1])
    return None
