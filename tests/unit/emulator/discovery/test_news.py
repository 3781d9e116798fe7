"""Whether an answer about a container is still worth something."""

import pytest

from podwire.emulator.discovery.news import News


def happen(news: News, what: str) -> None:
    word, _, ids = what.partition(" ")
    match word:
        case "heard":
            news.heard(ids)
        case "asked":
            news.asked(ids)
        case "gone":
            news.forget(ids)
        case "listed":
            news.all_of(ids.split())
        case _:
            raise AssertionError(what)


@pytest.mark.parametrize(
    ("meanwhile", "silent"),
    [
        ([], True),
        (["heard b"], True),
        (["gone b"], True),
        (["asked a"], True),
        (["heard a"], False),
        (["gone a"], False),
        (["listed a"], False),
        (["listed b"], False),
        # Gone, and asked for by somebody else.
        (["gone a", "asked a"], False),
    ],
)
@pytest.mark.parametrize("before", [[], ["heard a"]])
def test_an_answer_counts_if_nothing_was_heard(
    before: list[str],
    meanwhile: list[str],
    silent: bool,  # noqa: FBT001
) -> None:
    news = News()
    for what in before:
        happen(news, what)
    asked = news.asked("a")
    for what in meanwhile:
        happen(news, what)
    assert news.silent_since("a", asked) is silent


def test_what_is_gone_is_forgotten() -> None:
    news = News()
    for what in ("heard a", "heard b", "asked c", "gone a"):
        happen(news, what)
    assert len(news) == 2
    happen(news, "listed c d e")
    assert len(news) == 3
    happen(news, "gone unknown")
    assert len(news) == 3
