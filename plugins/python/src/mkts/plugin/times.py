"""Times of calls: nanoseconds since 1970 UTC, or what can be read as such."""

from __future__ import annotations

import datetime

import numpy as np

from .errors import wrong_type

MIN, MAX = -(2**63), 2**63 - 1
Time = int | np.datetime64 | datetime.datetime

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def nanoseconds(value: Time) -> int:
    """An integer is nanoseconds; a datetime must say its time zone."""
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise wrong_type("NaT is no time")
        return int(value.astype("M8[ns]").astype("i8"))
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise wrong_type(f"{value!r} has no time zone; use datetime.timezone.utc")
        return (value - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        number = int(value)
        if not MIN <= number <= MAX:
            raise wrong_type(f"{number} is outside of the times that nanoseconds can say")
        return number
    raise wrong_type(f"a time is ns as an integer, datetime64 or datetime, not {type(value).__name__}")
