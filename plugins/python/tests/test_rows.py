"""Rows on the wire: the bytes that plugin.proto describes."""

import datetime

import numpy as np
import pytest

from fake import bars
from mkts.plugin.errors import PluginError
from mkts.plugin.events import Batch
from mkts.plugin.rows import DTYPES, Rows, Schema, Sent, encode
from mkts.plugin.times import nanoseconds

SECOND = 10**9


def back(rows, kind=0):
    columns, data, _ = encode(rows)
    return Rows(Schema(kind, columns), [data])


def test_bytes_are_those_of_the_description():
    rows = {
        "Epoch": np.array([1, 2, 3], "M8[ns]"),
        "Open": np.array([1.5, 2.5, 3.5], "f4"),
        "Flag": np.array([1, 2, 3], "u1"),
        "Name": np.array(["a", "bc", ""]),
        "Volume": np.array([10, 20, 30], "i8"),
    }
    columns, data, count = encode(rows)
    assert columns == [("Open", 0), ("Flag", 10), ("Name", 14), ("Volume", 3)]
    assert count == 3
    # count, times, f4 padded to 16, u1 padded to 8, text, i8: as the Rust side's own test has it.
    assert len(data) == 8 + 24 + 16 + 8 + 192 + 24
    assert data[:16] == bytes([3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    assert data[48:52] == bytes([1, 2, 3, 0])
    found = back(rows).numpy()
    for name in rows:
        np.testing.assert_array_equal(found[name], rows[name])


def test_columns_are_views_of_the_message():
    columns, data, _ = encode(bars(4))
    batch = Batch("AAPL/1Min/OHLCV", Schema(0, columns), data)
    whole = np.frombuffer(data, "u1")
    for name, values in batch.numpy().items():
        assert np.shares_memory(values, whole), name
        assert not values.flags.writeable
        assert values.ctypes.data % values.itemsize == 0
    assert (batch.key.symbol, batch.key.timeframe, batch.key.attribute_group) == (
        "AAPL",
        "1Min",
        "OHLCV",
    )
    assert len(batch) == 4 and "Close" in batch and "Bid" not in batch


def test_every_type_of_column_comes_back():
    rows = {"Epoch": np.arange(3).astype("M8[s]")}
    for code, dtype in DTYPES.items():
        rows[f"C{code}"] = np.array([1, 2, 3]).astype(dtype)
    # Of other byte orders, too.
    rows["Big"] = np.array([1, 2, 3], ">i4")
    found = back(rows)
    for code, dtype in DTYPES.items():
        assert found[f"C{code}"].dtype == dtype
    assert found["Big"].tolist() == [1, 2, 3]
    assert found.times.tolist() == [0, SECOND, 2 * SECOND]


def test_times_are_seconds_or_say_what_they_are():
    assert back({"Epoch": [1, 2]}).times.tolist() == [SECOND, 2 * SECOND]
    rows = {"Epoch": np.array([1, 2]), "Nanoseconds": np.array([5, 6], "i4"), "N": [0, 0]}
    found = back(rows)
    assert found.times.tolist() == [SECOND + 5, 2 * SECOND + 6] and found.names == ("N",)
    structured = np.array([(1, 2.5)], dtype=[("Epoch", "i8"), ("Close", "f4")])
    assert back(structured)["Close"].tolist() == [2.5]
    assert back(back(bars(2))).times.tolist() == back(bars(2)).times.tolist()


@pytest.mark.parametrize(
    "rows, text",
    [
        ([1], "rows are a map of columns or a structured array, not list"),
        ({"Close": [1.0]}, "rows have no column Epoch: Close"),
        ({"Epoch": [1.5]}, "column Epoch is float64; it is datetime64, or seconds as integers"),
        ({"Epoch": [1_700_000_000 * SECOND]}, "column Epoch holds integers, which are seconds, of"),
        ({"Epoch": [np.datetime64("NaT")]}, "column Epoch holds NaT"),
        ({"Epoch": np.array(["9999"], "M8[D]")}, "column Epoch holds times outside of 1677 to 2262"),
        ({"Epoch": [[1]]}, "column Epoch has 2 dimensions, not 1"),
        ({"Epoch": [1], "C": [1, 2]}, "column C has 2 rows, Epoch has 1"),
        ({"Epoch": [1], "C": [True]}, "column C is bool; a column is f4, f8, i1-i8, u1-u8 or text"),
        ({"Epoch": [1], "C": [None]}, "column C is object; a column is"),
        ({"Epoch": [1], "C": ["x" * 17]}, "column C has a text of more than 16 characters"),
        ({"Epoch": [1], "Nanoseconds": [1, 2]}, "column Nanoseconds does not fit Epoch"),
        (
            {"Epoch": np.array([1], "M8[s]"), "Nanoseconds": [1]},
            "column Nanoseconds goes with an Epoch of seconds only",
        ),
    ],
)
def test_rows_that_cannot_be_written_are_named(rows, text):
    with pytest.raises(PluginError) as caught:
        encode(rows)
    assert str(caught.value).startswith(f"TYPE: {text}")


def test_rows_cut_or_grown_anywhere_are_refused():
    columns, data, _ = encode(bars(3))
    schema = Schema(0, columns)
    for size in range(len(data)):
        with pytest.raises(PluginError, match="protocol: "):
            Rows(schema, [data[:size]]).numpy()
    with pytest.raises(PluginError, match="protocol: "):
        Rows(schema, [data + bytes(8)]).numpy()
    with pytest.raises(PluginError, match="protocol: no column type has number 99"):
        Schema(0, [("X", 99)])


def test_parts_are_joined_and_none_is_empty():
    columns, data, _ = encode(bars(3))
    schema = Schema(0, columns)
    joined = Rows(schema, [data, data])
    assert len(joined) == 6 and joined["Close"].tolist() == back(bars(3))["Close"].tolist() * 2
    none = Rows(schema, [])
    assert len(none) == 0 and none["Close"].dtype == np.dtype("f4")


def test_a_schema_is_sent_once_per_kind():
    sent = Sent()
    columns = [("Close", 0)]
    number, message = sent.id(0, columns)
    assert number == 1 and message.columns[0].name == "Close"
    assert sent.id(0, columns) == (1, None)
    assert sent.id(1, columns)[0] == 2


def test_arrow_has_the_same_rows():
    pyarrow = pytest.importorskip("pyarrow")
    rows = bars(3) | {"Name": np.array(["a", "bc", ""])}
    found = back(rows)
    table = found.arrow()
    assert table.schema.field("Epoch").type == pyarrow.timestamp("ns", tz="UTC")
    assert table.column("Name").to_pylist() == ["a", "bc", ""]
    assert table.column("Close").to_pylist() == rows["Close"].tolist()
    assert table.column("Epoch").cast(pyarrow.int64()).to_pylist() == found.times.tolist()
    # Not copied: the column is where the message is.
    address = table.column("Close").buffers()[1].address
    assert address == found["Close"].ctypes.data


def test_times_of_calls():
    utc = datetime.timezone.utc
    assert nanoseconds(5) == 5
    assert nanoseconds(np.datetime64(2, "s")) == 2 * SECOND
    assert nanoseconds(datetime.datetime(1970, 1, 1, 0, 0, 1, 7, tzinfo=utc)) == SECOND + 7000
    with pytest.raises(PluginError, match="has no time zone"):
        nanoseconds(datetime.datetime(1970, 1, 1))
    for wrong in (2**63, 1.5, True, np.datetime64("NaT")):
        with pytest.raises(PluginError, match="TYPE: "):
            nanoseconds(wrong)
