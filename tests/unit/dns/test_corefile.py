"""Corefiles as Caddy reads them: words, blocks, snippets, imports, and the line of each error."""

from collections.abc import Mapping

import pytest

from podwire.dns.corefile.corefile import CorefileError, Line, ServerBlock, parse

FILES: Mapping[str, str] = {
    "common": "errors\nlog\n",
    "one.server": "one.test {\n    whoami\n}\n",
    "two.server": "# nothing\n",
    "ring": "import ring\n",
    "broken": "health {\n    lameduck 5s\n",
    "late": "\n\nhealth {\n",
}


def read(pattern: str, importer: str) -> list[tuple[str, str]]:
    assert importer
    if pattern.startswith("*"):
        return [(name, text) for name, text in FILES.items() if name.endswith(pattern[1:])]
    if pattern not in FILES:
        raise FileNotFoundError(pattern)
    return [(pattern, FILES[pattern])]


def parsed(text: str, **environ: str) -> tuple[ServerBlock, ...]:
    return parse(text, environ=environ, read=read)


def shown(blocks: tuple[ServerBlock, ...]) -> str:
    """Return blocks in a row: keys, then each directive with what is in its braces."""
    return " | ".join(
        f"{' '.join(block.keys)}: "
        + "; ".join(
            " ".join(repr(w) if w.split() != [w] else w for w in (d.name, *d.arguments))
            + lines_shown(d.lines)
            for d in block.directives
        )
        for block in blocks
    )


def lines_shown(lines: tuple[Line, ...]) -> str:
    if not lines:
        return ""
    inside = ", ".join(" ".join(line.words) + lines_shown(line.lines) for line in lines)
    return f" {{{inside}}}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ""),
        ("# only a comment\n", ""),
        (".:53 {\n    whoami\n}\n", ".:53: whoami"),
        (".:53\nwhoami\nlog\n", ".:53: whoami; log"),
        (".:53\n", ".:53: "),
        (".:53\n{\nwhoami\n}\n", ".:53: whoami"),
        (". { whoami\n}", ".: whoami"),
        (". {\n}\ntest {\nlog\n}", ".:  | test: log"),
        ("a.test b.test {\nlog\n}", "a.test b.test: log"),
        ("a.test, b.test,\n  c.test {\nlog\n}", "a.test b.test c.test: log"),
        ("\ufeff. {\r\n  log\r\n}\r\n", ".: log"),
        (". { # why not\nlog # all of it\n}", ".: log"),
        (". {\nlog#glued\n}", ".: log"),
        (". {\nforward . 1.1.1.1 {\n  policy random\n}\n}", ".: forward . 1.1.1.1 {policy random}"),
        (". {\nhealth { lameduck 5s\n}\n}", ".: health {lameduck 5s}"),
        (". {\nerrors {\n}\n}", ".: errors"),
        (". {\na {\n b {\n c d\n }\n}\n}", ".: a {b {c d}}"),
        ('. {\nlog . "{remote} says"\n}', ".: log . '{remote} says'"),
        ('. {\nlog "a \\"b\\" \\d"\n}', """.: log 'a "b" \\\\d'"""),
        ('. {\nlog "c:\\\\"\nerrors\n}', ".: log c:\\\\; errors"),
        ('. {\nlog "two\nlines"\nerrors\n}', ".: log 'two\\nlines'; errors"),
        ('. {\nlog ""\n}', ".: log ''"),
        ('. {\nlog "{"\n}', ".: log {"),
        ("(all) {\n  errors\n  log\n}\n. {\n  import all\n  whoami\n}", ".: errors; log; whoami"),
        ("(s) {\n  health {\n  lameduck 1s\n  }\n}\n. {\nimport s\n}", ".: health {lameduck 1s}"),
        (". {\n  import common\n}", ".: errors; log"),
        ("import *.server\n. {\nlog\n}", "one.test: whoami | .: log"),
        (". {\nimport *.nothing\nlog\n}", ".: log"),
        ("(o) {\n  lameduck 5s\n}\n. {\nhealth {\nimport o\n}\n}", ".: health {lameduck 5s}"),
    ],
)
def test_what_is_read(text: str, found: str) -> None:
    assert shown(parsed(text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{$ZONE}:53 {\nlog\n}", "corp.test:53: log"),
        ("{%ZONE%} {\nlog\n}", "corp.test: log"),
        (". {\nforward . {$TO}:{$PORT}\n}", ".: forward . 192.0.2.1:5353"),
        ('. {\nlog "{$SAYS}"\n}', ".: log 'two words'"),
        (". {\nlog {$SAYS}\n}", ".: log 'two words'"),
        (". {\nforward . {$UNSET}\n}", ".: forward . ''"),
        (". {\nlog {$}\n}", ".: log {$}"),
    ],
)
def test_variables(text: str, found: str) -> None:
    environ = {"ZONE": "corp.test", "TO": "192.0.2.1", "PORT": "5353", "SAYS": "two words"}
    assert shown(parsed(text, **environ)) == found


def test_lines_are_counted() -> None:
    (block,) = parsed('\n\n. {\n  log "a\nb"\n\n  health {\n    lameduck 5s\n  }\n}')
    assert block.number == 3
    assert [directive.number for directive in block.directives] == [4, 7]
    assert [line.number for line in block.directives[1].lines] == [8]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (". {\nlog\n", "Corefile:2", "Unexpected EOF"),
        (". {\nhealth {\n  lameduck 5s\n}\n", "Corefile:4", "Unexpected EOF"),
        ('. {\nlog "never closed\n}\n', "Corefile:2", "Unexpected EOF: a quote is not closed"),
        ("a.test, {\nlog\n}", "Corefile:1", "Expected another address but had '{'"),
        ("a.test,\n", "Corefile:1", "Unexpected EOF"),
        ("{\nlog\n}", "Corefile:1", "Unexpected token '{', expecting a zone"),
        (".\nlog\n}\n", "Corefile:3", "Unexpected '}' because no matching opening brace"),
        (
            ".:53{\nlog\n}\n",
            "Corefile:3",
            "Unexpected '}' because no matching opening brace:"
            " is a space missing before the { of .:53{?",
        ),
        (". {\nhealth { lameduck 5s }\n}", "Corefile:2", "Unexpected '}' in a line"),
        (". {\nhealth {\n} too much\n}", "Corefile:3", "Unexpected token 'too' behind '}'"),
        (". {\n{\n}\n}", "Corefile:2", "Unexpected '{', expecting a directive"),
        (". {\nimport\n}", "Corefile:2", "Wrong argument count or unexpected line ending after"),
        (". {\nimport a b\n}", "Corefile:2", "Import takes only one argument"),
        (". {\n\nimport missing\n}", "Corefile:3", "File to import not found: missing"),
        (". {\nimport ring\n}", "ring:1", "maximum import depth"),
        (". {\nimport broken\n", "broken:2", "Unexpected EOF"),
        ("(a) {\nlog\n}\n(a) {\nlog\n}", "Corefile:4", "redeclaration of previously declared"),
        ("(a) {\nimport a\n}\n. {\nimport a\n}", "Corefile:2", "maximum import depth"),
        ("(a)\n", "Corefile:1", "snippet (a) needs braces"),
    ],
)
def test_what_is_refused(text: str, where: str, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        parsed(text)
    assert str(caught.value).startswith(f"{where} - Error during parsing: {says}"), caught.value
