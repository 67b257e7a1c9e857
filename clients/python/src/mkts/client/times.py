"""Times: nanoseconds since 1970 UTC, and what can be read as such."""

from __future__ import annotations

import datetime
import re
from typing import Any, Union

import numpy as np

from .errors import InvalidInput

#: An instant. Without a zone it is UTC; an integer is nanoseconds.
Time = Union[int, str, datetime.datetime, datetime.date, "np.datetime64[Any]"]

SECOND = 10**9
MIN, MAX = -(2**63) + 1, 2**63 - 1

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"\s*(Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)
#: Integers below it are refused: they are seconds or milliseconds by mistake, not 1970-01-02.
_PLAUSIBLE = 86_400 * SECOND


def nanoseconds(value: Time, what: str = "time") -> int:
    """The instant in nanoseconds; `what` names it in errors."""
    if isinstance(value, np.datetime64):
        return _of_datetime64(value, what)
    if isinstance(value, datetime.datetime):
        return _of_datetime(value, what)
    if isinstance(value, datetime.date):
        days = value.toordinal() - datetime.date(1970, 1, 1).toordinal()
        return _bounded(days * 86_400 * SECOND, value, what)
    if isinstance(value, str):
        return _of_text(value, what)
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_)):
        return _of_int(int(value), what)
    raise InvalidInput(
        f"{what}: {type(value).__name__} is no time",
        hint="take a datetime, numpy.datetime64, ISO 8601 text or nanoseconds as an integer",
    )


def split(nanos: int) -> tuple[int, int]:
    """Whole seconds, rounded down, and the nanoseconds that are left."""
    return divmod(nanos, SECOND)


def _bounded(nanos: int, value: object, what: str) -> int:
    if not MIN <= nanos <= MAX:
        raise InvalidInput(f"{what}: {value} is outside of the years 1678 to 2261")
    return nanos


def _of_int(value: int, what: str) -> int:
    if value != 0 and abs(value) < _PLAUSIBLE:
        raise InvalidInput(
            f"{what}: the integer {value} is nanoseconds, a time within a day of 1970",
            hint=f"for seconds write {value} * 10**9, or pass a datetime",
        )
    return _bounded(value, value, what)


def _of_datetime64(value: np.datetime64[Any], what: str) -> int:
    if np.isnat(value):
        raise InvalidInput(f"{what}: NaT is no time")
    seconds = int(value.astype("M8[s]").astype("i8"))
    # Whole seconds first: the cast to nanoseconds wraps around silently.
    _bounded(seconds * SECOND, value, what)
    return int(value.astype("M8[ns]").astype("i8"))


def _of_datetime(value: datetime.datetime, what: str) -> int:
    # pandas.Timestamp is a datetime that knows nanoseconds; NaT is one, too.
    own = getattr(value, "value", None)
    if isinstance(own, int):
        if own < MIN:
            raise InvalidInput(f"{what}: NaT is no time")
        return own
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    return _bounded((value - _EPOCH) // _MICROSECOND * 1000, value, what)


def _of_text(value: str, what: str) -> int:
    found = _TEXT.fullmatch(value.strip())
    if found is None:
        raise InvalidInput(
            f"{what}: {value!r} is no time",
            hint="write it as 2020-01-31, 2020-01-31T14:30:00.5 or with a zone, +01:00 or Z",
        )
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        whole = datetime.datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError as error:
        raise InvalidInput(f"{what}: {value!r}: {error}") from None
    seconds = (whole - datetime.datetime(1970, 1, 1)) // datetime.timedelta(seconds=1)
    if zone and zone not in "Zz":
        digits = zone[1:].replace(":", "")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    nanos = int((fraction or "").ljust(9, "0"))
    return _bounded(seconds * SECOND + nanos, value, what)


def to_nanoseconds(array: np.ndarray, what: str) -> np.ndarray:
    """A column of datetime64 as int64 nanoseconds."""
    if bool(np.isnat(array).any()):
        row = int(np.isnat(array).argmax())
        raise InvalidInput(f"{what}: row {row} has no time (NaT)")
    if len(array):
        for end in (array.min(), array.max()):
            _of_datetime64(end, what)
    return array.astype("M8[ns]").astype("<i8")
