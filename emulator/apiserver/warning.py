"""Pure: the Warning headers of an answer (RFC 7234 section 5.5, KEP-1693)."""

from collections.abc import Iterable

MOST_CHARACTERS = 4096
"""Of all texts together; when there is more, each is cut and the last ones are left out."""
_CUT = 256


def warning_headers(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the value of a header for each of *texts*, without repetitions.

    Texts with control characters are left out: no header can carry them. Source of the limits:
    k8s.io/apiserver/pkg/endpoints/filters/warning.go.
    """
    sayable = [text for text in dict.fromkeys(texts) if text and text.isprintable()]
    if sum(map(len, sayable)) > MOST_CHARACTERS:
        sayable = [text[:_CUT] for text in sayable]
    values: list[str] = []
    length = 0
    for text in sayable:
        if length >= MOST_CHARACTERS:
            break
        length += len(text)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        values.append(f'299 - "{quoted}"')
    return tuple(values)
