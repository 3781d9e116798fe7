"""Pure: moments as Kubernetes writes them."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return a moment as Kubernetes writes it: whole seconds, UTC, Z."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Return a moment as a MicroTime: six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Return seconds since 1970; raises ValueError for what is no RFC 3339 time."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
