"""Frames of every library become the same columns; what cannot be stored is refused by name."""

import decimal
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mkts.client import InvalidInput, MktsError
from mkts.client.frames import columns_of
from mkts.client.writes import by_bucket, check_bars, parts_of, request

AT = 1_577_975_400 * 10**9
TIMES = np.array([AT, AT + 1, AT + 60 * 10**9], "i8").view("M8[ns]")
PRICES, SIZES, TEXTS = [1.5, float("nan"), -0.0], [1, 2, 2**40], ["a", "bc", "\u20ac"]


def frames():
    index = pd.DatetimeIndex(TIMES, name="Epoch")
    columns = {"Price": PRICES, "Size": SIZES, "Text": TEXTS}
    plain = pd.DataFrame(columns, index=index)
    yield "pandas, index", plain
    yield "pandas, index with a zone", plain.tz_localize("UTC").tz_convert("America/New_York")
    yield "pandas, index without a name", plain.rename_axis(None)
    yield "pandas, column", plain.reset_index()
    yield "pandas, nullable", plain.convert_dtypes()
    yield "pandas, Arrow", plain.reset_index().convert_dtypes(dtype_backend="pyarrow")
    yield "pandas, categories", plain.astype({"Text": "category"})
    yield "polars", pl.DataFrame({"Epoch": TIMES, **columns})
    zoned = pl.col("Epoch").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    yield "polars, zone", pl.DataFrame({"Epoch": TIMES, **columns}).with_columns(zoned)
    yield (
        "polars, categories",
        pl.DataFrame({"Epoch": TIMES, **columns}).with_columns(pl.col("Text").cast(pl.Categorical)),
    )
    yield "polars, null", pl.DataFrame({"Epoch": TIMES, **columns, "Price": [1.5, None, -0.0]})
    table = pa.table({"Epoch": TIMES, **columns})
    yield "arrow", table
    yield "arrow, chunks", pa.concat_tables([table.slice(0, 1), table.slice(1)])
    yield "arrow, batch", table.to_batches()[0]
    yield "arrow, null", table.set_column(1, "Price", pa.array([1.5, None, -0.0]))
    yield "arrow, dictionary", table.set_column(3, "Text", table["Text"].dictionary_encode())
    array = np.zeros(3, dtype=[("Epoch", "M8[ns]"), ("Price", ">f8"), ("Size", "i8"), ("Text", "U5")])
    array["Epoch"], array["Price"], array["Size"], array["Text"] = TIMES, PRICES, SIZES, TEXTS
    yield "numpy, big-endian", array
    yield "dict of lists", {"Epoch": list(TIMES), **columns}
    yield "dict of texts", {"Epoch": [f"{time}Z" for time in TIMES], **columns}


@pytest.mark.parametrize("frame", [pytest.param(frame, id=name) for name, frame in frames()])
def test_all_frames_are_equal(frame):
    columns = columns_of(frame)
    assert columns.times.tolist() == TIMES.view("i8").tolist()
    assert columns.values["Price"].tobytes() == np.array(PRICES, "<f8").tobytes()
    assert columns.values["Size"].tobytes() == np.array(SIZES, "<i8").tobytes()
    assert columns.values["Text"].tobytes() == np.array(TEXTS, "<U16").tobytes()
    assert list(columns.values) == ["Price", "Size", "Text"]


def test_integer_times_need_a_unit():
    frame = {"ts": [1_577_975_400], "Price": [1.0]}
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        scaled = {**frame, "ts": [1_577_975_400 * factor]}
        assert columns_of(scaled, "ts", unit).times.tolist() == [AT]
    with pytest.raises(InvalidInput, match="integers, but of which unit"):
        columns_of(frame, "ts")
    with pytest.raises(InvalidInput, match="outside of the years"):
        columns_of({"Epoch": [AT], "Price": [1.0]}, unit="ms")


def test_nanoseconds_of_marketstore_are_added():
    frame = {"Epoch": [1_577_975_400], "Price": [1.0], "Nanoseconds": np.array([7], "i4")}
    assert columns_of(frame, unit="s").times.tolist() == [AT + 7]
    assert list(columns_of(frame, unit="s").values) == ["Price"]


EPOCH = {"Epoch": TIMES}


@pytest.mark.parametrize(
    "frame, text",
    [
        ({"Price": PRICES}, "there is no column 'Epoch' with the times; there are: Price"),
        ({**EPOCH}, "there is no column beside the times"),
        ({**EPOCH, "P": [1.0]}, "columns of different lengths: [1, 3]"),
        ({**EPOCH, "P": [[1], [2], [3]]}, "a column has one dimension"),
        ({**EPOCH, "P": 5}, "a column is a list or an array, not int"),
        ({**EPOCH, 7: PRICES}, "column 7: names are text"),
        ({**EPOCH, "P": [True, False, True]}, "column 'P': bool cannot be stored; store it as uint8"),
        ({**EPOCH, "P": np.array(TIMES)}, "column 'P': datetime64[ns] cannot be stored; store it as int64"),
        ({**EPOCH, "P": np.array(PRICES, "c16")}, "column 'P': complex128 cannot be stored"),
        ({**EPOCH, "P": ["a", None, "b"]}, "column 'P': row 1 has no value"),
        ({**EPOCH, "P": np.array(["a", 1, 2], object)}, "column 'P' mixes texts and numbers"),
        ({**EPOCH, "P": np.array([1, 2, 2**70], object)}, "column 'P': a number has more than 64 bits"),
        ({**EPOCH, "P": np.array([decimal.Decimal(1)] * 3)}, "column 'P': row 0: Decimal cannot be stored"),
        ({**EPOCH, "P": ["a", "b" * 17, "c"]}, f"row 1: '{'b' * 17}' has more than 16 characters"),
        ({**EPOCH, "P": np.array([b"a"] * 3)}, "decode it to text"),
        ({"Epoch": [1.5], "P": [1.0]}, "column 'Epoch': float64 are no times"),
        (np.zeros(3), "an array needs named columns"),
        ([1, 2], "list is no frame"),
        (pd.Series([1.0]), "a DataFrame is needed, not Series"),
        (pl.LazyFrame({"Epoch": [1]}), "a LazyFrame has no rows yet; call collect()"),
        (pl.DataFrame({**EPOCH, "P": [1, None, 2]}), "column 'P': row 1 has no value"),
        (pa.table({**EPOCH, "P": pa.array([1, 2, None])}), "column 'P': row 2 has no value"),
        (pd.DataFrame({**EPOCH, "P": pd.array([1, None, 2], "Int64")}), "column 'P': row 1 has no value"),
        (pd.DataFrame([[1, 2]], columns=["P", "P"]), "two columns have one name"),
    ],
)
def test_what_cannot_be_stored_is_refused(frame, text):
    with pytest.raises(MktsError, match=re.escape(text)):
        columns_of(frame)


def test_rows_go_by_their_key_columns():
    frame = {"Epoch": TIMES, "symbol": ["B", "A", "B"], "Price": PRICES}
    buckets = by_bucket("*/1Min/X", columns_of(frame))
    assert {key: columns.times.tolist() for key, columns in buckets.items()} == {
        "A/1Min/X": [AT + 1],
        "B/1Min/X": [AT, AT + 60 * 10**9],
    }
    with pytest.raises(InvalidInput, match="column 'symbol': row 0 is 'B', the key says 'A'"):
        by_bucket("A/1Min/X", columns_of(frame))
    with pytest.raises(InvalidInput, match="there is no text column 'timeframe'"):
        by_bucket("*/*/X", columns_of(frame))
    for key in ("A/1Min", "A//X", "A,B/1Min/X", "A*/1Min/X", "A/1Min/X:C"):
        with pytest.raises(InvalidInput, match="key"):
            by_bucket(key, columns_of(frame))


def test_new_buckets_do_not_lose_rows_silently():
    check_bars("A/1Min/X", np.array([AT, AT + 60 * 10**9]))
    check_bars("A/1D/X", np.array([AT, AT + 1]))
    with pytest.raises(InvalidInput, match="is not the start of a bar"):
        check_bars("A/1Min/X", np.array([AT, AT + 1]))
    with pytest.raises(InvalidInput, match="two rows have one time"):
        check_bars("A/1Min/X", np.array([AT, AT]))


def test_large_frames_are_sent_in_parts():
    columns = columns_of({"Epoch": TIMES, "Price": PRICES})
    parts = list(parts_of(columns, 45))
    assert [len(part) for part in parts] == [2, 1]
    assert np.concatenate([part.times for part in parts]).tolist() == columns.times.tolist()
    assert list(parts_of(columns, 10**6)) == [columns]


def test_requests_have_the_shape_of_marketstore():
    columns = columns_of({"Epoch": TIMES, "Price": PRICES, "Text": TEXTS})
    sent = request({"A/1Sec/X": columns, "B/1Sec/X": columns.take(slice(0, 1))}, "tick")
    dataset = sent["dataset"]
    assert sent["is_variable_length"] is True
    assert dataset["types"] == ["i8", "f8", "U16", "i4"]
    assert dataset["names"] == ["Epoch", "Price", "Text", "Nanoseconds"]
    assert dataset["startindex"] == {"A/1Sec/X": 0, "B/1Sec/X": 3}
    assert dataset["lengths"] == {"A/1Sec/X": 3, "B/1Sec/X": 1}
    assert np.frombuffer(dataset["data"][3], "<i4").tolist() == [0, 1, 0, 0]
    assert [len(data) for data in dataset["data"]] == [32, 32, 256, 16]
