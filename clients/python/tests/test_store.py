"""Rows to a real server and back, to the bit."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from conftest import real_bars, real_trades
from mkts.client import Client, InvalidInput, MktsError, NotFound, WriteError, writer

MINUTE = np.timedelta64(60, "s")
AT = np.datetime64("2020-01-02T14:30", "ns")


def bars(symbol="AAPL", limit=None):
    """Real bars with times."""
    array = real_bars(symbol, limit)
    columns = {name: array[name].copy() for name in array.dtype.names}
    columns["Epoch"] = columns["Epoch"].astype("M8[s]").astype("M8[ns]")
    return columns


def small(rows=2):
    return {"Epoch": AT + np.arange(rows) * MINUTE, "Price": np.arange(rows) + 0.5}


def assert_same(got, wanted):
    assert list(got) == list(wanted)
    for name in wanted:
        assert got[name].dtype == wanted[name].dtype, name
        assert got[name].tobytes() == wanted[name].tobytes(), name


def test_real_bars(client):
    data = bars()
    assert client.write("AAPL/1Min/OHLCV", data).rows == len(data["Epoch"])
    assert_same(client.query("AAPL/1Min/OHLCV").numpy(), data)
    # Written from each library and read by each, they are the same.
    result = client.query("AAPL/1Min/OHLCV")
    for name, frame in (
        ("PD", result.pandas()),
        ("PL", result.polars()),
        ("PA", result.arrow()),
        ("NP", result.records()),
    ):
        client.write(f"{name}/1Min/OHLCV", frame)
        assert_same(client.query(f"{name}/1Min/OHLCV").numpy(), data)
    frame = result.pandas()
    assert (
        frame.index.name == "Epoch"
        and str(frame.index.tz) == "UTC"
        and frame.index.dtype == "datetime64[ns, UTC]"
    )
    assert result.arrow().schema.field("Epoch").type == pa.timestamp("ns", "UTC")
    assert result.polars().schema["Epoch"] == pl.Datetime("ns", "UTC")
    eastern = result.pandas(tz="America/New_York").index
    assert (eastern == frame.index).all() and str(eastern.tz) == "America/New_York"
    # They are ours to change.
    frame.iloc[0, 0] = 5.0
    result.numpy()["Open"][0] = 5.0
    assert result.numpy()["Open"][0] == data["Open"][0]


def test_real_trades_keep_their_nanoseconds_and_order(client):
    data = real_trades(5000)
    with pytest.raises(InvalidInput, match="IBM/1Sec/TRADE is new, and .* kind='tick' keeps every row"):
        client.write("IBM/1Sec/TRADE", data)
    client.write("IBM/1Sec/TRADE", data, kind="tick")
    assert client.info("IBM/1Sec/TRADE").kind == "tick"
    got = client.query("IBM/1Sec/TRADE").numpy()
    assert len(np.unique(data["Epoch"])) < len(data["Epoch"])
    assert got["Epoch"].tolist() == data["Epoch"].tolist()
    assert got["Exchange"].astype("U1").tolist() == data["Exchange"].tolist()
    assert got["Price"].tobytes() == data["Price"].tobytes()
    # The bucket is known now.
    more = {name: column[-1:] for name, column in data.items()}
    more["Epoch"] = more["Epoch"] + np.timedelta64(1, "ns")
    client.write("IBM/1Sec/TRADE", more)
    assert client.query("IBM/1Sec/TRADE", start=more["Epoch"][0]).rows == 1
    at = data["Epoch"][100]
    exact = client.query("IBM/1Sec/TRADE", start=at, end=at).numpy()
    assert exact["Epoch"].tolist() == data["Epoch"][data["Epoch"] == at].tolist()


def test_ranges_and_limits(client):
    client.write("RNG/1Min/X", small(10))

    def prices(**more):
        return client.query("RNG/1Min/X", **more).numpy()["Price"].tolist()

    assert prices(start=AT + MINUTE, end=AT + 2 * MINUTE) == [1.5, 2.5]
    assert prices(start="2020-01-02T09:38-05:00") == [8.5, 9.5]
    assert prices(end=datetime.datetime(2020, 1, 2, 14, 30)) == [0.5]
    assert prices(start=pd.Timestamp("2020-01-02 23:39", tz="Asia/Tokyo")) == [9.5]
    assert prices(limit=2) == [8.5, 9.5]
    assert prices(limit=2, first=True) == [0.5, 1.5]
    assert prices(start="2020-01-03") == []
    empty = client.query("RNG/1Min/X", start="2020-01-03")
    assert empty.rows == 0 and list(empty.pandas().columns) == ["Price"] and empty.polars().height == 0
    for bad in ({"limit": 0}, {"limit": True}, {"start": 1577975400}, {"columns": "Price"}, {"columns": ["Nope"]},
                {"missing": "x"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            client.query("RNG/1Min/X", **bad)


def test_years_before_1970(client):
    old = {
        "Epoch": np.array(["1969-12-31T23:59:00", "1969-12-31T23:59:59"], "M8[ns]") - np.timedelta64(1, "ns"),
        "P": [1.0, 2.0],
    }
    client.write("OLD/1Sec/X", old, kind="tick")
    assert client.query("OLD/1Sec/X").numpy()["Epoch"].tolist() == old["Epoch"].tolist()
    assert client.query("OLD/1Sec/X", end=old["Epoch"][0]).numpy()["P"].tolist() == [1.0]


def test_every_type(client):
    kinds = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]
    data = {"Epoch": AT + np.arange(3) * MINUTE}
    for kind in kinds:
        limits = np.finfo(kind) if kind[0] == "f" else np.iinfo(kind)
        data[kind] = np.array([limits.min, 0, limits.max], kind)
    data["text"] = np.array(["", "\u20acuro", "x" * 16], "U16")
    client.write("ALL/1Min/TYPES", data)
    assert_same(client.query("ALL/1Min/TYPES").numpy(), data)
    types = client.info("ALL/1Min/TYPES").columns
    assert types["i1"] == "int8" and types["u1"] == "uint8" and types["text"] == "str"
    for back in (client.query("ALL/1Min/TYPES").arrow(), client.query("ALL/1Min/TYPES").polars()):
        client.write("ALL2/1Min/TYPES", back)
        assert_same(client.query("ALL2/1Min/TYPES").numpy(), data)


def test_several_buckets(client):
    frame = pl.DataFrame(
        {
            "Epoch": AT + np.arange(4) * MINUTE,
            "symbol": ["MB", "MA", "MB", "MC"],
            "Price": [1.0, 2.0, 3.0, 4.0],
        }
    )
    report = client.write("*/1Min/MANY", frame)
    assert {bucket.key: bucket.rows for bucket in report.buckets} == {
        "MA/1Min/MANY": 1,
        "MB/1Min/MANY": 2,
        "MC/1Min/MANY": 1,
    }
    for keys in ("*/1Min/MANY", "MA,MB,MC/1Min/MANY", ["MC/1Min/MANY", "MA,MB/1Min/MANY"]):
        result = client.query(keys)
        assert list(result) == ["MA/1Min/MANY", "MB/1Min/MANY", "MC/1Min/MANY"]
        joined = result.pandas()
        assert joined["symbol"].tolist() == ["MA", "MB", "MB", "MC"] and joined["Price"].tolist() == [
            2.0,
            1.0,
            3.0,
            4.0,
        ]
        assert list(joined.columns) == ["symbol", "timeframe", "attribute_group", "Price"]
    assert result["MB/1Min/MANY"].pandas()["Price"].tolist() == [1.0, 3.0]
    # Asked for a list, the shape is that of a list, whatever was found.
    assert "symbol" in client.query(["MA/1Min/MANY"]).polars().columns
    # And it can be written as it is.
    client.destroy("MB/1Min/MANY")
    assert client.write("*/*/*", result.arrow()).rows == 4
    assert client.query("MB/1Min/MANY").rows == 2
    assert client.query("*/1Min/MANY", limit=1).rows == 3


def test_buckets_that_are_not_there(client):
    client.write("HERE/1Min/X", small())
    client.write("HERE/5Min/Y", small(1))
    with pytest.raises(NotFound, match="^there is no bucket GONE/1Min/X and 1 more$") as caught:
        client.query(["HERE/1Min/X", "GONE/1Min/X", "LOST/1Min/X"])
    assert isinstance(caught.value, LookupError) and caught.value.kind == "not_found"
    result = client.query(["HERE/1Min/X", "GONE/1Min/X"], missing="skip")
    assert list(result) == ["HERE/1Min/X"] and result.missing == ("GONE/1Min/X",)
    assert client.query("*/1Min/NONE", missing="skip").rows == 0
    for key in ("GONE/1Min/X", "*/1Min/NONE"):
        with pytest.raises(NotFound):
            client.query(key)
    # MarketStore would answer with the rows of 5Min, as if they were of 10Min.
    for key in ("HERE/10Min/Y", "*/10Min/Y"):
        with pytest.raises(NotFound, match="there is HERE/5Min/Y, but its rows are not those of 10Min"):
            client.query(key)
    for key in ("A*/1Min/X", "A/*/X", "A/1Min", "", 5):
        with pytest.raises(InvalidInput, match="key"):
            client.query(key)
    with pytest.raises(InvalidInput, match="the list is empty"):
        client.query([])


def test_buckets_of_different_columns_are_not_joined(client):
    client.write("DA/1Min/DIFF", small())
    client.write("DB/1Min/DIFF", {"Epoch": [AT], "Price": np.array([1.0], "f4")})
    with pytest.raises(MktsError):
        client.query(["DA/1Min/DIFF", "DB/1Min/DIFF"]).pandas()


def test_partial_success(client):
    client.write("PB/1Min/PART", {"Epoch": [AT], "Other": [1.0]})
    frames = {f"{name}/1Min/PART": small() for name in ("PA", "PB", "PC")}
    report = client.write_many(frames, on_error="report")
    assert report.rows == 4 and list(report.errors) == ["PB/1Min/PART"]
    assert "unable to match data columns" in report.errors["PB/1Min/PART"]
    assert client.query("PC/1Min/PART").rows == 2
    with pytest.raises(WriteError, match="^1 of 3 buckets: PB/1Min/PART: unable to match") as caught:
        client.write_many(frames)
    assert caught.value.report.rows == 4


def test_atomic_writes_are_all_or_nothing(client):
    client.write("AB/1Min/ATOM", {"Epoch": [AT], "Other": [1.0]})
    frames = {f"{name}/1Min/ATOM": small() for name in ("AA", "AB", "AC")}
    report = client.write_many(frames, atomic=True, on_error="report")
    assert report.rows == 0 and len(report.errors) == 3
    with pytest.raises(NotFound):
        client.query("AA/1Min/ATOM")
    client.destroy("AB/1Min/ATOM")
    assert client.write_many(frames, atomic=True).rows == 6
    assert client.query("*/1Min/ATOM").rows == 6
    mixed = {"AA/1Min/ATOM": small(), "AD/1Min/ATOM": {"Epoch": [AT], "Other": [1.0]}}
    with pytest.raises(InvalidInput, match="atomic: all buckets must have the same columns"):
        client.write_many(mixed, atomic=True)


def test_no_rows_make_no_bucket(client):
    assert client.write("EMPTY/1Min/X", {"Epoch": np.empty(0, "M8[ns]"), "P": np.empty(0)}).rows == 0
    assert (
        client.write(
            "*/1Min/X", {"Epoch": np.empty(0, "M8[ns]"), "symbol": np.empty(0, "U4"), "P": np.empty(0)}
        ).rows
        == 0
    )
    assert "EMPTY" not in client.symbols()


def test_large_frames_go_in_parts(client, monkeypatch):
    monkeypatch.setattr(writer, "REQUEST_BYTES", 1 << 16)
    rows = 20_000
    data = {"Epoch": AT + np.arange(rows) * MINUTE, "P": np.random.default_rng(1).random(rows)}
    assert client.write("LARGE/1Min/X", data).rows == rows
    assert_same(client.query("LARGE/1Min/X").numpy(), data)


def test_the_life_of_a_bucket(client):
    client.create("NEW/1Min/X", {"Price": "f4", "Size": np.int32, "Text": str})
    client.create("NEW/1Sec/X", {"Price": float}, kind="tick")
    info = client.info("NEW/1Min/X")
    assert info.columns == {"Price": "float32", "Size": "int32", "Text": "str"}
    assert (info.kind, info.timeframe_ns) == ("bar", 60 * 10**9)
    with pytest.raises(MktsError, match="Can not overwrite file"):
        client.create("NEW/1Min/X", {"Price": "f4"})
    assert (
        client.alter(
            "NEW/1Min/X", add={"Bid": "f8"}, drop=["Text"], rename={"Size": "Count"}, widen={"Price": "f8"}
        )
        > 0
    )
    assert client.info("NEW/1Min/X").columns == {"Price": "float64", "Count": "int32", "Bid": "float64"}
    assert {"NEW/1Min/X", "NEW/1Sec/X"} <= set(client.buckets())
    assert "NEW/1Sec/X" in client.buckets("1Sec") and "NEW/1Min/X" not in client.buckets("1Sec")
    assert "NEW" in client.symbols("1Sec") and "NEW" not in client.symbols("1D")
    client.write(
        "NEW/1Min/X",
        {"Epoch": AT + np.arange(5) * MINUTE, "Price": [1.0] * 5, "Count": [1] * 5, "Bid": [1.0] * 5},
    )
    assert client.delete("NEW/1Min/X", end=AT + MINUTE, dry_run=True) == 2
    assert client.delete("NEW/1Min/X", end=AT + MINUTE) == 2
    assert client.query("NEW/1Min/X").rows == 3
    assert client.destroy("NEW/1Min/X") is True
    assert client.destroy("NEW/1Min/X", missing_ok=True) is False
    with pytest.raises(NotFound):
        client.destroy("NEW/1Min/X")
    with pytest.raises(NotFound, match="there is no bucket NEW/1Min/X"):
        client.info("NEW/1Min/X")
    for call in (
        lambda: client.delete("NEW/1Sec/X"),
        lambda: client.destroy("NEW"),
        lambda: client.destroy("*/1Min/X"),
        lambda: client.create("NEW/1Min/X", {"Price": "f2"}),
        lambda: client.create("NEW/1Min/X", {"Price": "what"}),
        lambda: client.create("NEW/1Min/X", {"Price": "f4"}, kind="x"),
        lambda: client.write("NEW/1Min/X", small(), kind="x"),
        lambda: client.write("NEW/1Min/X", small(), on_error="x"),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_the_kind_is_that_of_the_bucket(client, server):
    """Whatever the caller says, and whoever has made the bucket anew meanwhile."""
    precise = {"Epoch": [AT + np.timedelta64(7, "ns")], "P": [1.0]}
    whole = {"Epoch": [AT], "P": [1.0]}
    client.write("KIND/1Sec/X", whole)
    with Client(server.url) as other:
        other.destroy("KIND/1Sec/X")
        other.create("KIND/1Sec/X", {"P": float}, kind="tick")
    client.write("KIND/1Sec/X", precise)
    client.write("KIND/1Sec/X", precise, kind="bar")
    client.write("KIND/1Sec/X", whole, kind="bar")
    got = client.query("KIND/1Sec/X").numpy()["Epoch"] - AT
    assert got.astype(int).tolist() == [0, 7, 7]
    client.write("KIND/1Min/X", whole)
    client.write("KIND/1Min/X", precise, kind="tick")
    assert client.info("KIND/1Min/X").kind == "bar"
    assert client.query("KIND/1Min/X").numpy()["Epoch"].tolist() == [AT.astype(int)]


def test_the_server(client, server):
    assert client.version()
    assert client.health()["queryable"] is True
    assert "buckets" in client.status()
    assert repr(client) == f"Client('{server.url}')"


def test_rows_survive_a_kill_between_calls(new_server):
    """The client finds its way back without being told."""
    server = new_server()
    client = Client(server.url)
    client.write("A/1Min/X", small())
    server.stop()
    server.start()
    assert client.query("A/1Min/X").rows == 2
    server.stop()
    server.start()
    # An idle connection was closed: even a write notices before it sends.
    assert client.write("A/1Min/X", small(3)).rows == 3
