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

WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS = {name: number for number, day in enumerate(WEEK, start=1) for name in (day, day[:3])}
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
    try:
        return NAMES.get(every.strip().lower()) or _fields(every.strip())
    except ValueError as reason:
        raise SettingError(
            f"EVERY is {every!r}, but there is no systemd for this user and a crontab cannot express it: {reason}. "
            f"Expected {', '.join(NAMES)}, or DAYS *-MONTH-DAY HOUR:MINUTE, as in 02:30, Mon..Fri 02:30, *-*-01 04:00 "
            "or *:0/15."
        ) from None


def _fields(every: str) -> str:
    """Translate an expression; raise `ValueError` with the reason where that is impossible, as the functions below."""
    parts = FORM.fullmatch(every)
    if parts is None or not every:
        raise ValueError("it is none of the forms below")
    given = parts.groupdict()
    if given["year"] not in (None, "*"):
        raise ValueError("a crontab has no years")
    if given["second"] not in (None, "0", "00"):
        raise ValueError("a crontab has no seconds")
    if given["days"] and given["day"] not in (None, "*"):
        raise ValueError("a crontab takes days of the week and of the month for alternatives")
    limits = {"minute": ("0", 0, 59), "hour": ("0", 0, 23), "day": ("*", 1, 31), "month": ("*", 1, 12)}
    fields = [_field(given[name] or default, least, most) for name, (default, least, most) in limits.items()]
    return " ".join([*fields, _days(given["days"]) if given["days"] else "*"])


def _field(text: str, least: int, most: int) -> str:
    """Translate ``8..17/2,20``: numbers, ranges, steps, and commas between them."""
    return ",".join(_element(element, least, most) for element in text.split(","))


def _element(text: str, least: int, most: int) -> str:
    parts = re.fullmatch(r"(\*|(\d+)(?:\.\.(\d+))?)(?:/(\d+))?", text)
    if parts is None:
        raise ValueError(f"a crontab has no counterpart of {text!r}")
    _, first, last, step = parts.groups()
    numbers = [int(number) for number in (first, last) if number]
    if numbers != sorted(numbers) or any(not least <= number <= most for number in numbers) or step == "0":
        raise ValueError(f"{text!r} is not within {least} to {most}")
    if first is None:
        return f"*/{int(step)}" if step else "*"
    if step:
        return f"{int(first)}-{int(last or most)}/{int(step)}"
    return "-".join(str(number) for number in numbers)


def _days(text: str) -> str:
    """Translate ``Mon..Fri,Sun`` into numbers."""
    numbers: set[int] = set()
    for element in text.split(","):
        ends = [DAYS.get(name.lower(), 0) for name in element.split("..")]
        if len(ends) > 2 or not all(ends) or ends != sorted(ends):
            raise ValueError(f"{element!r} is neither a day of the week nor a range of days")
        numbers.update(range(ends[0], ends[-1] + 1))
    return ",".join(str(number) for number in sorted(numbers))
