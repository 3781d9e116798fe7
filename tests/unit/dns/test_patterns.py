"""Go's regular expressions, read by Python."""

import pytest

from podwire.dns.parts.patterns import filled, groups_used, pattern


@pytest.mark.parametrize(
    ("text", "name", "groups"),
    [
        ("^a(.*)$", "abc", ("bc",)),
        ("(?P<x>a)(?<y>b)", "ab", ("a", "b")),
        ("[[:alpha:]]+([[:digit:]]+)", "ab12", ("12",)),
        (r"(?i)ABC\z", "abc", ()),
        (r"^\w+$", "é", None),
        (r"a\\1", "a\\1", ()),
        ("(a)|b", "b", (None,)),
        ("b", "abc", ()),
    ],
)
def test_patterns(text: str, name: str, groups: tuple[str | None, ...] | None) -> None:
    found = pattern(text).search(name)
    assert (found.groups() if found else None) == groups


@pytest.mark.parametrize(
    "text",
    ["(", "a**", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?>a)", "x" * 10_001],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="regex"):
        pattern(text)


@pytest.mark.parametrize(
    ("text", "name", "replacement", "made"),
    [
        (r"(.*)\.(.*)", "a.b", "{2}.{1}.{0}", "b.a.a.b"),
        ("(a)|(b)", "b", "<{1}{2}>", "<b>"),
        ("a", "a", "{1}", "{1}"),
        ("(a)", "a", "{01}{x}{2}", "{01}{x}{2}"),
        # A stranger's name must not be a template: with six groups it would grow to 15 MB.
        (r"(.*)\.(.*)\.(.*)", "{2}{2}.{3}{3}.{1}", "{1}-{2}-{3}", "{2}{2}-{3}{3}-{1}"),
    ],
)
def test_filling(text: str, name: str, replacement: str, made: str) -> None:
    found = pattern(text).search(name)
    assert found
    assert filled(replacement, found) == made


def test_groups_are_counted_once() -> None:
    assert groups_used("{1}.{2}.{1}.{x}") == 2


def test_a_name_made_for_it_takes_no_longer_than_another() -> None:
    # Tried group by group, this has more ways than there are seconds.
    slow = pattern(r"(.*)-(.*)-(.*)-(.*)-(.*)-(.*)\.example\.org")
    assert slow.search("-" * 252) is None
    assert pattern(r"^\pL+$").search("größe") is not None
