import pytest

from podwire.kube import syntax
from podwire.kube.objects import LabelSelectorRequirement, LabelSelectorSpec
from podwire.kube.selectors import (
    EVERYTHING,
    NOTHING,
    FieldRequirement,
    SelectorError,
    from_labels,
    from_selector,
    parse_fields,
    parse_labels,
)

PODS = {
    "web-1": {"app": "web", "tier": "front", "rank": "1"},
    "web-2": {"app": "web", "tier": "back", "rank": "2"},
    "db": {"app": "db", "rank": "ten"},
    "odd": {"in": "notin", "empty": ""},
    "bare": {},
}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("", "web-1 web-2 db odd bare"),
        ("  ", "web-1 web-2 db odd bare"),
        ("app=web", "web-1 web-2"),
        ("app==web", "web-1 web-2"),
        (" app = web ", "web-1 web-2"),
        ("app!=web", "db odd bare"),
        ("app", "web-1 web-2 db"),
        ("!app", "odd bare"),
        ("! app", "odd bare"),
        ("app,!tier", "db"),
        ("app=web,tier=front", "web-1"),
        ("app in (web,db)", "web-1 web-2 db"),
        ("app in (web, db),tier notin (front)", "web-2 db"),
        ("app notin (web,db)", "odd bare"),
        ("tier notin (front)", "web-2 db odd bare"),
        ("rank>1", "web-2"),
        ("rank<2", "web-1"),
        ("rank > 0,rank < 2", "web-1"),
        ("empty=", "odd"),
        ("empty=,in", "odd"),
        ("empty in ()", "odd"),
        ("empty in (,x)", "odd"),
        ("empty in (x,)", "odd"),
        ("empty in (x,,y)", "odd"),
        ("in=notin", "odd"),
        ("in in (in,notin)", "odd"),
        ("app.kubernetes.io/name", ""),
    ],
)
def test_a_label_selector_chooses(selector: str, chosen: str) -> None:
    wanted = parse_labels(selector)
    assert " ".join(name for name, labels in PODS.items() if wanted.matches(labels)) == chosen


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a (b)", "unable to parse requirement: found '(', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!=b", "found '!=', expected: !, identifier, or 'end of string'"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a$=b",
            f'unable to parse requirement: <nil>: Invalid value: "a$": {syntax.qualified_name("a$")[0]}',
        ),
        (
            "a in (b, -c)",
            f'unable to parse requirement: values[0][a]: Invalid value: "-c": {syntax.label_value("-c")[0]}',
        ),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "rank>high",
            'unable to parse requirement: values[0][rank]: Invalid value: "high": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_a_broken_label_selector_is_refused_in_the_api_servers_words(
    selector: str, message: str
) -> None:
    with pytest.raises(SelectorError) as raised:
        parse_labels(selector)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("operator", "values", "chosen"),
    [
        ("In", ("web",), "web-1 web-2"),
        ("NotIn", ("web",), "db odd bare"),
        ("Exists", (), "web-1 web-2 db"),
        ("DoesNotExist", (), "odd bare"),
    ],
)
def test_match_expressions(operator: str, values: tuple[str, ...], chosen: str) -> None:
    line = LabelSelectorRequirement(key="app", operator=operator, values=values)
    wanted = from_selector(LabelSelectorSpec(match_expressions=(line,)))
    assert " ".join(name for name, labels in PODS.items() if wanted.matches(labels)) == chosen


def test_match_labels_and_expressions_must_all_hold() -> None:
    line = LabelSelectorRequirement(key="rank", operator="Gt", values=("1",))
    wanted = from_selector(
        LabelSelectorSpec(match_labels={"app": "web"}, match_expressions=(line,))
    )
    assert [name for name, labels in PODS.items() if wanted.matches(labels)] == ["web-2"]


def test_an_unknown_operator_is_refused() -> None:
    line = LabelSelectorRequirement(key="app", operator="Like", values=("w*",))
    with pytest.raises(SelectorError, match="'Like' is not a valid label selector operator"):
        from_selector(LabelSelectorSpec(match_expressions=(line,)))


def test_a_services_selector_map_everything_and_nothing() -> None:
    assert from_labels({"app": "web"}).matches({"app": "web", "tier": "x"})
    assert not from_labels({"app": "web"}).matches({"app": "db"})
    for labels in PODS.values():
        assert EVERYTHING.matches(labels)
        assert not NOTHING.matches(labels)


@pytest.mark.parametrize(
    ("selector", "requirements"),
    [
        ("", []),
        ("metadata.name=web", [("metadata.name", "web", True)]),
        ("metadata.name==web", [("metadata.name", "web", True)]),
        ("metadata.name!=web", [("metadata.name", "web", False)]),
        ("a=1,,b!=2", [("a", "1", True), ("b", "2", False)]),
        ("a=", [("a", "", True)]),
        (r"a=x\,y,b=1\=1,c=\\", [("a", "x,y", True), ("b", "1=1", True), ("c", "\\", True)]),
    ],
)
def test_a_field_selector_is_read(selector: str, requirements: list[tuple[str, str, bool]]) -> None:
    wanted = tuple(FieldRequirement(f, value, equal=equal) for f, value, equal in requirements)
    assert parse_fields(selector) == wanted


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=1,b", "invalid selector: 'a=1,b'; can't understand 'b'"),
        (r"a=\n", r"invalid field selector: invalid escape sequence: \n"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
    ],
)
def test_a_broken_field_selector_is_refused(selector: str, message: str) -> None:
    with pytest.raises(SelectorError) as raised:
        parse_fields(selector)
    assert str(raised.value) == message
