"""Translate systemd's calendar expressions into the five fields of a crontab line, where these can express them."""

from __future__ import annotations

import re

from pipeline.errors import SettingError

NAMES = {
    "minutely": "* * * * *",
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 1",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "semiannually": "0 0 1 1,7 *",
    "yearly": "0 0 1 1 *",
    "annually": "0 0 1 1 *",
}
"""As systemd.time(7) defines them."""

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FORM = re.compile(
    r"(?:(?P<days>[A-Za-z][A-Za-z,.]*)(?:\s+|$))?"
    r"(?:(?:(?P<year>[^-:\s]+)-)?(?P<month>[^-:\s]+)-(?P<day>[^-:\s]+)(?:\s+|$))?"
    r"(?:(?P<hour>[^-:\s]+):(?P<minute>[^-:\s]+)(?::(?P<second>[^-:\s]+))?)?"
)
"""``[days] [[year-]month-day] [hour:minute[:second]]``"""


def in_crontab(every: str) -> str:
    """Return the five fields: minute, hour, day of the month, month, day of the week.

    Raises
    ------
    SettingError
        They cannot express it.
    """
    every = every.strip()
    if every.lower() in NAMES:
        return NAMES[every.lower()]
    parts = FORM.fullmatch(every)
    if parts is None or not every:
        raise _refusal(every, "it is none of the forms below")
    given = parts.groupdict()
    if given["year"] not in (None, "*"):
        raise _refusal(every, "a crontab has no years")
    if given["second"] not in (None, "0", "00"):
        raise _refusal(every, "a crontab has no seconds")
    day, days = _field(every, given["day"] or "*", 1, 31), _days(every, given["days"])
    if "*" not in (day, days):
        raise _refusal(every, "a crontab takes days of the week and of the month for alternatives")
    time = [_field(every, given["minute"] or "0", 0, 59), _field(every, given["hour"] or "0", 0, 23)]
    return " ".join([*time, day, _field(every, given["month"] or "*", 1, 12), days])


def _field(every: str, text: str, least: int, most: int) -> str:
    """Translate ``8..17/2,20``: numbers, ranges, steps, and commas between them."""
    return ",".join(_element(every, element, least, most) for element in text.split(","))


def _element(every: str, text: str, least: int, most: int) -> str:
    parts = re.fullmatch(r"(\*|(\d+)(?:\.\.(\d+))?)(?:/(\d+))?", text)
    if parts is None:
        raise _refusal(every, f"a crontab has no counterpart of {text!r}")
    _, first, last, step = parts.groups()
    numbers = [int(number) for number in (first, last) if number]
    if numbers != sorted(numbers) or any(not least <= number <= most for number in numbers) or step == "0":
        raise _refusal(every, f"{text!r} is not within {least} to {most}")
    if first is None:
        return f"*/{int(step)}" if step else "*"
    if step:
        return f"{int(first)}-{int(last or most)}/{int(step)}"
    return "-".join(str(number) for number in numbers)


def _days(every: str, text: str | None) -> str:
    """Translate ``Mon..Fri,Sun`` into numbers."""
    if text is None:
        return "*"
    numbers: set[int] = set()
    for element in text.split(","):
        ends = [_day(every, name) for name in element.split("..")]
        if len(ends) > 2 or ends != sorted(ends):
            raise _refusal(every, f"{element!r} is neither a day nor a range of days")
        numbers.update(range(ends[0], ends[-1] + 1))
    return ",".join(str(number) for number in sorted(numbers))


def _day(every: str, name: str) -> int:
    for number, day in enumerate(DAYS, start=1):
        if name.lower() in (day, day[:3]):
            return number
    raise _refusal(every, f"{name!r} is not a day of the week")


def _refusal(every: str, reason: str) -> SettingError:
    return SettingError(
        f"EVERY is {every!r}, but there is no systemd for this user and a crontab cannot express it: {reason}. "
        f"Expected {', '.join(NAMES)}, or DAYS *-MONTH-DAY HOUR:MINUTE, as in 02:30, Mon..Fri 02:30, *-*-01 04:00 or "
        "*:0/15."
    )
