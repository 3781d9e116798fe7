"""Pure: cron schedules as CronJobs write them: five fields, or @hourly and its like.

An own parser because a CronJob must run when Kubernetes would run it, and that is what the Go
library robfig/cron (v3, ParseStandard) does, quirks included: Sunday is 0 and never 7; a day fits
by its date or its weekday if both are given; a step of one number (`5/15`) goes to the end of the
range; at the end of summer time an hour that comes twice is met twice, and one that is left out in
spring is never met. The Python libraries differ in each of these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from podwire.kube import durations

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

# A schedule that does not come in five years never comes: 30 February.
_YEARS = 5


class ScheduleError(ValueError):
    """A schedule that cannot be read; the message is that of Kubernetes' parser."""


@dataclass(frozen=True, slots=True)
class Every:
    """`@every 90m`: so many seconds after the last time."""

    seconds: int

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after *moment*, which has a time zone."""
        return moment.replace(microsecond=0) + timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Minutes, hours and days that fit, in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    dates: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Whether a day fits by its date or its weekday; else it must fit by both."""
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the next time after *moment*, which has a time zone; None if there is none."""
        start = moment.astimezone(self.zone).date()
        for number in range(_YEARS * 366):
            day = start + timedelta(days=number)
            if self._fits(day):
                found = next((t for t in self._times(day) if t > moment), None)
                if found is not None:
                    return found
        return None

    def _fits(self, day: date) -> bool:
        by_date = day.day in self.dates
        by_weekday = day.isoweekday() % 7 in self.weekdays
        fits = by_date or by_weekday if self.either else by_date and by_weekday
        return fits and day.month in self.months

    def _times(self, day: date) -> list[datetime]:
        """Return the times of *day* in their order: on two days a year it is not the clock's."""
        times = {t for h in self.hours for m in self.minutes for t in self._instants(day, h, m)}
        return [t.astimezone(self.zone) for t in sorted(times)]

    def _instants(self, day: date, hour: int, minute: int) -> Iterator[datetime]:
        for fold in (0, 1):
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
            instant = local.replace(fold=fold).astimezone(UTC)
            # A time that the clocks leave out comes back as another one.
            back = instant.astimezone(self.zone)
            if (back.hour, back.minute) == (hour, minute):
                yield instant


Schedule = Every | Calendar


def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """Return the schedule that *text* stands for; raises ScheduleError."""
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith("@every "):
        return Every(_duration(text))
    if text.startswith("@"):
        if text not in _WORDS:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = _WORDS[text]
    fields = text.split()
    if len(fields) != 5:
        said = f"[{' '.join(fields)}]"
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: {said}")
    minutes, _ = _field(fields[0], 0, 59)
    hours, _ = _field(fields[1], 0, 23)
    dates, any_date = _field(fields[2], 1, 31)
    months, _ = _field(fields[3], 1, 12, {name: n for n, name in enumerate(_MONTHS, 1)})
    weekdays, any_weekday = _field(fields[4], 0, 6, {name: n for n, name in enumerate(_DAYS)})
    either = not (any_date or any_weekday)
    return Calendar(minutes, hours, dates, months, weekdays, either, zone)


def _field(
    text: str, first: int, last: int, names: Mapping[str, int] | None = None
) -> tuple[frozenset[int], bool]:
    """Return the numbers that fit, and whether the field is a star."""
    found: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            numbers, open_ = _range(part, first, last, names or {})
            found.update(numbers)
            star = star or open_
    return frozenset(found), star


def _range(text: str, first: int, last: int, names: Mapping[str, int]) -> tuple[range, bool]:
    span, *steps = text.split("/")
    low_text, *high_texts = span.split("-")
    star = low_text in ("*", "?")
    if star:
        low, high = first, last
    else:
        low = _number(low_text, names)
        if len(high_texts) > 1:
            raise ScheduleError(f"too many hyphens: {text}")
        high = _number(high_texts[0], names) if high_texts else low
    step = 1
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0], {})
        if not high_texts and not star:
            high = last
    if low < first:
        raise ScheduleError(f"beginning of range ({low}) below minimum ({first}): {text}")
    if high > last:
        raise ScheduleError(f"end of range ({high}) above maximum ({last}): {text}")
    if low > high:
        raise ScheduleError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    # A star with a step is no star any more: the other field of the day then counts as well.
    return range(low, high + 1, step), star and step == 1


def _number(text: str, names: Mapping[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not text.isascii() or not text.isdigit():
        raise ScheduleError(
            f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
        )
    return int(text)


def _duration(text: str) -> int:
    written = text.removeprefix("@every ")
    try:
        length = durations.seconds(written)
    except ValueError as error:
        raise ScheduleError(
            f'failed to parse duration {text}: time: invalid duration "{written}"'
        ) from error
    # Whole seconds, and never less than one.
    return max(1, int(length))
