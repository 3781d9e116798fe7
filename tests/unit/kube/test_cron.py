"""When a schedule comes: the cases are those of Kubernetes' parser, robfig/cron (spec_test.go)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from podwire.kube.cron import ScheduleError, parse

NEW_YORK = "America/New_York"


def after(schedule: str, moment: str, zone: str = "UTC") -> str:
    place = UTC if zone == "UTC" else ZoneInfo(zone)
    found = parse(schedule, place).after(datetime.fromisoformat(moment))
    return "never" if found is None else found.isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("schedule", "moment", "following"),
    [
        ("*/15 * * * *", "2012-07-09T14:45:00+00:00", "2012-07-09T15:00+00:00"),
        ("*/15 * * * *", "2012-07-09T14:59:59+00:00", "2012-07-09T15:00+00:00"),
        ("* * * * *", "2012-07-09T14:45:30+00:00", "2012-07-09T14:46+00:00"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00+00:00", "2012-07-09T16:20+00:00"),
        ("5/15 * * * *", "2012-07-09T15:45:00+00:00", "2012-07-09T15:50+00:00"),
        ("0 9-17/4 * * *", "2012-07-09T13:00:00+00:00", "2012-07-09T17:00+00:00"),
        ("1,2,40 0 * * *", "2012-07-09T00:02:00+00:00", "2012-07-09T00:40+00:00"),
        ("0 0 1 1 *", "2012-07-09T23:35:00+00:00", "2013-01-01T00:00+00:00"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00+00:00", "2013-02-04T00:00+00:00"),
        ("0 0 * feb mon/2", "2012-07-09T23:35:00+00:00", "2013-02-01T00:00+00:00"),
        ("0 0 29 2 ?", "2012-07-09T23:35:00+00:00", "2016-02-29T00:00+00:00"),
        ("0 0 15 * 0", "2012-07-01T00:00:00+00:00", "2012-07-08T00:00+00:00"),
        ("0 0 15 * 0", "2012-07-08T00:00:00+00:00", "2012-07-15T00:00+00:00"),
        ("0 0 15 * *", "2012-07-01T00:00:00+00:00", "2012-07-15T00:00+00:00"),
        ("0 0 30 2 *", "2012-07-09T23:35:00+00:00", "never"),
        ("0 0 31 4 *", "2012-07-09T23:35:00+00:00", "never"),
        ("@hourly", "2012-07-09T23:35:00+00:00", "2012-07-10T00:00+00:00"),
        ("@daily", "2012-07-09T23:35:00+00:00", "2012-07-10T00:00+00:00"),
        ("@weekly", "2012-07-09T23:35:00+00:00", "2012-07-15T00:00+00:00"),
        ("@monthly", "2012-07-09T23:35:00+00:00", "2012-08-01T00:00+00:00"),
        ("@yearly", "2012-07-09T23:35:00+00:00", "2013-01-01T00:00+00:00"),
        ("@every 1h30m", "2012-07-09T23:35:00+00:00", "2012-07-10T01:05+00:00"),
    ],
)
def test_the_next_time(schedule: str, moment: str, following: str) -> None:
    assert after(schedule, moment) == following


@pytest.mark.parametrize(
    ("schedule", "moment", "following"),
    [
        # The clocks go forward: 02:00 is 03:00.
        ("30 2 11 Mar ?", "2012-03-11T00:00:00-05:00", "2013-03-11T02:30-04:00"),
        ("0 * * * ?", "2012-03-11T01:00:00-05:00", "2012-03-11T03:00-04:00"),
        ("0 1 * * ?", "2012-03-11T01:00:00-05:00", "2012-03-12T01:00-04:00"),
        ("0 2 * * ?", "2012-03-11T00:00:00-05:00", "2012-03-12T02:00-04:00"),
        # The clocks go back: 01:00 to 02:00 comes twice.
        ("30 2 04 Nov ?", "2012-11-04T00:00:00-04:00", "2012-11-04T02:30-05:00"),
        ("30 1 04 Nov ?", "2012-11-04T01:45:00-04:00", "2012-11-04T01:30-05:00"),
        ("0 * * * ?", "2012-11-04T00:00:00-04:00", "2012-11-04T01:00-04:00"),
        ("0 * * * ?", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00-05:00"),
        ("0 * * * ?", "2012-11-04T01:00:00-05:00", "2012-11-04T02:00-05:00"),
        ("0 1 * * ?", "2012-11-04T00:00:00-04:00", "2012-11-04T01:00-04:00"),
        ("0 1 * * ?", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00-05:00"),
        ("0 1 * * ?", "2012-11-04T01:00:00-05:00", "2012-11-05T01:00-05:00"),
        ("0 3 * * ?", "2012-11-04T00:00:00-04:00", "2012-11-04T03:00-05:00"),
        # The moment is given in another zone than the schedule.
        ("0 9 * * *", "2012-07-09T14:00:00+00:00", "2012-07-10T09:00-04:00"),
    ],
)
def test_summer_time(schedule: str, moment: str, following: str) -> None:
    assert after(schedule, moment, NEW_YORK) == following


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("@often", "unrecognized descriptor: @often"),
        (
            "@every nothing",
            'failed to parse duration @every nothing: time: invalid duration "nothing"',
        ),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        (
            "x * * * *",
            'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax',
        ),
    ],
)
def test_what_is_no_schedule(schedule: str, said: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(schedule)
    assert str(caught.value) == said
