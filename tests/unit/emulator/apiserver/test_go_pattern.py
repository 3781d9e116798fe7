"""Regular expressions of definitions: what Go finds, and never for longer than it would take."""

import random
import re

import pytest

from podwire.emulator.apiserver.custom.go_pattern import PatternError, compiled, matches

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("", ["", "a"], []),
        ("a", ["a", "bab"], ["", "b"]),
        ("^a+$", ["a", "aaa"], ["", "ab", "a\n", "ba"]),
        ("(?m)^a$", ["b\na\nc"], ["ba"]),
        (f"^{LABEL}(\\.{LABEL})*$", ["a", "a-b.c0", "x" * 253], ["", "-a", "a.", "A", "a..b"]),
        ("^(|a|b(c|d))$", ["", "a", "bc", "bd"], ["b", "ab"]),
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("^a{2,}b{0,2}$", ["aa", "aaab", "aabb"], ["a", "aabbb"]),
        ("^a{,2}$", ["a{,2}"], ["aa"]),
        ("^(a?){3}$", ["", "aaa"], ["aaaa"]),
        ("^(a*)*$", ["", "aa"], ["b"]),
        ("^[[:alpha:]_]+$", ["a_Z"], ["1"]),
        ("^[[:^digit:]]$", ["a"], ["1"]),
        ("^[^a-c\\]]$", ["d", "-"], ["b", "]"]),
        ("^[]a-]+$", ["]a-"], ["b"]),
        ("^\\d+\\s\\w\\D\\S\\W$", ["12 a-b-"], ["1a"]),
        ("^[\\d.]+$", ["1.2"], ["a"]),
        ("\\bfoo\\b", ["a foo.", "foo"], ["food", "_foo"]),
        ("o\\Bo", ["foo"], ["o o"]),
        ("\\Aa\\z", ["a"], ["a\n"]),
        ("(?i)^abc[d-f]$", ["ABCE", "abcd"], ["abcg"]),
        ("^(?i:a)b$", ["Ab"], ["AB"]),
        ("^((?i)a)b$", ["Ab"], ["AB"]),
        ("(?s)^a.b$", ["a\nb"], ["ab"]),
        ("^a.b$", ["axb"], ["a\nb"]),
        ("^\\Qa.b\\E+$", ["a.b", "a.bbb"], ["axb"]),
        ("^(?P<x>a)(?<y>b)$", ["ab"], ["a"]),
        ("^\\x41\\x{1F600}\\101\\.\\t$", ["A\U0001f600A.\t"], ["A"]),
        ("^\\p{Lu}\\pN\\PL\\p{Greek}$", ["Ä5-\u03b1"], ["ä5-\u03b1"]),
        ("^a*?b+?c??$", ["abc", "bb"], ["ac"]),
        ("^https?://", ["http://x", "https://y"], ["ftp://x"]),
        ("^é$", ["é"], ["e"]),
    ],
)
def test_what_is_found(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not matches(pattern, text)] == []
    assert [text for text in no if matches(pattern, text)] == []


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(a)\\1", "invalid escape sequence: `\\1`"),
        ("\\y", "invalid escape sequence: `\\y`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("((a{1000}){1000}){1000}", "expression too large"),
        ("(" * 5000 + ")" * 5000, "expression nests too deeply"),
    ],
)
def test_what_cannot_be_read(pattern: str, says: str) -> None:
    with pytest.raises(PatternError) as error:
        compiled(pattern)
    assert str(error.value).startswith(f"error parsing regexp: {says}")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+$", "a" * 5000 + "!"),
        ("^(a|aa)*$", "a" * 5000 + "!"),
        ("^(a|a)*$", "a" * 5000 + "!"),
        ("^a*a*a*a*a*a*$", "a" * 5000 + "!"),
        ("(a*)*b", "a" * 5000),
        ("^(((){1000}){1000}){1000}x$", "y"),
    ],
)
def test_no_text_takes_for_ever(pattern: str, text: str) -> None:
    """Python's own engine does not come back from most of these."""
    assert not matches(pattern, text)


def test_more_work_than_anybody_waits_for_is_no_match() -> None:
    dice = random.Random(1)
    assert not matches("(a|b)*a(a|b){900}c", "".join(dice.choice("ab") for _ in range(20_000)))


def test_it_finds_what_python_finds() -> None:
    dice = random.Random(7)

    def expression(depth: int) -> str:
        if depth == 0:
            return dice.choice(["a", "b", ".", "[ab]", "[^a]", "\\b", "^", "$"])
        inner = [expression(depth - 1) for _ in range(dice.randrange(1, 4))]
        kind = dice.randrange(3)
        if kind == 0:
            return "".join(inner)
        if kind == 1:
            return f"({'|'.join(inner)})"
        return f"(?:{''.join(inner)}){dice.choice(['*', '+', '?', '{1,2}'])}"

    for _ in range(400):
        pattern = expression(dice.randrange(1, 4))
        # Python's $ stands before a last line end, too.
        python = re.compile(pattern.replace("$", "\\Z"))
        for _ in range(6):
            text = "".join(dice.choice("ab c") for _ in range(dice.randrange(0, 7)))
            assert matches(pattern, text) is bool(python.search(text)), (pattern, text)
