"""Times in every form, to the nanosecond."""

import datetime
import zoneinfo

import numpy as np
import pandas as pd
import pytest

from mkts.client import InvalidInput
from mkts.client.times import MAX, nanoseconds, split, to_nanoseconds

#: 2020-01-02T14:30:00 UTC.
AT = 1_577_975_400 * 10**9
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    "value, wanted",
    [
        (AT + 1, AT + 1),
        (np.int64(AT), AT),
        (0, 0),
        (-AT, -AT),
        ("2020-01-02 14:30", AT),
        ("2020-01-02T14:30:00Z", AT),
        ("2020-01-02T14:30:00.123456789", AT + 123_456_789),
        ("2020-01-02T14:30:00.5z", AT + 500_000_000),
        ("2020-01-02T09:30:00-05:00", AT),
        ("2020-01-02 20:00:00+0530", AT),
        ("2020-01-02", AT - 52_200 * 10**9),
        ("1969-12-31T23:59:59.999999999", -1),
        (datetime.date(2020, 1, 2), AT - 52_200 * 10**9),
        (datetime.datetime(2020, 1, 2, 14, 30, 0, 7), AT + 7000),
        (datetime.datetime(2020, 1, 2, 9, 30, tzinfo=NEW_YORK), AT),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, datetime.timezone.utc), -1000),
        (np.datetime64("2020-01-02T14:30:00.000000001"), AT + 1),
        (np.datetime64("2020-01-02"), AT - 52_200 * 10**9),
        (pd.Timestamp(AT + 1), AT + 1),
        (pd.Timestamp("2020-01-02T09:30:00.000000003", tz="America/New_York"), AT + 3),
        (pd.Timestamp("2020-01-02T14:30:00").as_unit("s"), AT),
    ],
)
def test_all_forms(value, wanted):
    assert nanoseconds(value) == wanted


def test_both_sides_of_a_change_of_clocks():
    """01:30 is there twice on that day; `fold` and the offset say which one."""
    first = datetime.datetime(2020, 11, 1, 1, 30, tzinfo=NEW_YORK)
    second = first.replace(fold=1)
    assert nanoseconds(second) - nanoseconds(first) == 3600 * 10**9
    assert nanoseconds(pd.Timestamp(second)) == nanoseconds(second) == nanoseconds("2020-11-01T01:30-05:00")


@pytest.mark.parametrize(
    "value, text",
    [
        (1_577_975_400, r"write 1577975400 \* 10\*\*9"),
        (1_577_975_400_000, "a time within a day of 1970"),
        (True, "bool is no time"),
        (1.5, "float is no time"),
        (None, "NoneType is no time"),
        ("yesterday", "'yesterday' is no time"),
        ("2020-02-30", "'2020-02-30': day"),
        ("2020-01-02T14:30:00.1234567890", "is no time"),
        ("1500-01-01", "outside of the years 1678 to 2261"),
        (datetime.datetime(2300, 1, 1), "outside of the years"),
        (np.datetime64("3000-01-01"), "outside of the years"),
        (np.datetime64("NaT"), "NaT is no time"),
        (pd.NaT, "NaT is no time"),
        (MAX + 1, "outside of the years"),
    ],
)
def test_what_is_no_time_is_refused(value, text):
    with pytest.raises(InvalidInput, match=f"^start: .*{text}"):
        nanoseconds(value, "start")


def test_seconds_are_rounded_down():
    assert split(AT + 5) == (1_577_975_400, 5)
    assert split(-1) == (-1, 999_999_999)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_columns_of_any_unit(unit):
    column = np.array(["2020-01-02T14:30:00", "1969-12-31T23:59:59"], f"M8[{unit}]")
    assert to_nanoseconds(column, "Epoch").tolist() == [AT, -(10**9)]


def test_columns_that_wrap_around_are_refused():
    with pytest.raises(InvalidInput, match="outside of the years"):
        to_nanoseconds(np.array(["2020-01-02", "2500-01-01"], "M8[s]"), "Epoch")
    with pytest.raises(InvalidInput, match="row 1 has no time"):
        to_nanoseconds(np.array(["2020-01-02", "NaT"], "M8[s]"), "Epoch")
