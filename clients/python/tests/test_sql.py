"""Statements on a real server, and its rows in other libraries."""

import datetime

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from conftest import real_bars
from mkts.client import LimitExceeded, MktsError, SqlError

KEY = "AAPL/1Min/OHLCV"


@pytest.fixture(scope="module")
def bars(server):
    """Real bars of two symbols in the store, as a DataFrame of polars."""
    from mkts.client import Client

    client, frames = Client(server.url), []
    for symbol in ("AAPL", "IBM"):
        data = real_bars(symbol)
        client.write(f"{symbol}/1Min/OHLCV", data, unit="s")
        frames.append(client.query(f"{symbol}/1Min/OHLCV").polars())
    return frames[0]


def test_all_rows_are_those_of_a_query(client, bars):
    result = client.sql(f'SELECT * FROM "{KEY}"')
    assert result.polars().equals(bars)
    assert len(result) == len(bars)
    # SQL says that there are no nulls.
    table = client.query(KEY).arrow()
    assert result.arrow().cast(table.schema).equals(table)
    assert result.pandas().equals(client.query(KEY).pandas())
    assert result.numpy()["Close"].tobytes() == bars["Close"].to_numpy().tobytes()
    assert result.arrow().schema.field("Epoch").type == pa.timestamp("ns", "UTC")
    # A program may use the buffers as it likes.
    assert duckdb.from_arrow(result.arrow()).aggregate("count(*)").fetchall() == [(len(bars),)]
    assert pl.DataFrame(result).equals(bars)


def test_parameters_are_values_and_no_text(client, bars):
    statement = f'SELECT "Close" FROM "{KEY}" WHERE "Epoch" >= $1 AND "Volume" > $2 ORDER BY "Epoch" LIMIT 5'
    start = bars["Epoch"][100]
    wanted = bars.filter((pl.col("Epoch") >= start) & (pl.col("Volume") > 1000)).head(5)["Close"].to_list()
    for given in (start, np.datetime64(start.replace(tzinfo=None), "ns"), start.isoformat()):
        assert client.sql(statement, [given, 1000]).polars()["Close"].to_list() == wanted
    text = "x' OR '1'='1"
    assert client.sql("SELECT $1 AS text", [text]).polars()["text"].to_list() == [text]
    with pytest.raises(MktsError, match="parameter"):
        client.sql("SELECT $1 AS a", [])


def test_times_in_a_zone(client, bars):
    statement = f"""SELECT count(*) AS n FROM "{KEY}" WHERE "Epoch" >= '2014-06-06 09:30:00'"""
    utc = datetime.datetime(2014, 6, 6, 9, 30, tzinfo=datetime.timezone.utc)
    eastern = utc + datetime.timedelta(hours=4)
    for zone, start in ((None, utc), ("America/New_York", eastern)):
        got = client.sql(statement, zone=zone).polars()["n"].to_list()
        assert got == [len(bars.filter(pl.col("Epoch") >= start))], zone


def test_patterns_have_the_key_in_front(client, bars):
    frame = client.sql(
        'SELECT symbol, count(*) AS n FROM "*/1Min/OHLCV" GROUP BY symbol ORDER BY symbol'
    ).polars()
    assert frame["symbol"].to_list() == ["AAPL", "IBM"] and frame["n"][0] == len(bars)
    columns = client.sql('SELECT * FROM "*/1Min/OHLCV" LIMIT 1').polars().columns
    assert columns[:4] == ["symbol", "timeframe", "attribute_group", "Epoch"]
    assert columns == client.query("*/1Min/OHLCV", limit=1).polars().columns


def test_parts_of_a_result(client, bars):
    parts = list(client.sql_batches(f'SELECT "Epoch", "Close" FROM "{KEY}"'))
    assert pl.from_arrow(pa.Table.from_batches(parts)).equals(bars.select("Epoch", "Close"))
    # One that is left early harms nobody.
    for _ in client.sql_batches(f'SELECT * FROM "{KEY}"'):
        break
    assert len(client.sql("SELECT 1 AS one")) == 1
    with pytest.raises(SqlError):
        list(client.sql_batches("SELEC 1"))


def test_no_rows_have_columns(client, bars):
    result = client.sql(f'SELECT "Epoch", "Close" FROM "{KEY}" WHERE "Volume" < 0')
    assert len(result) == 0 and result.polars().columns == ["Epoch", "Close"]
    assert result.pandas().index.name == "Epoch" and result.numpy()["Close"].dtype == np.float32


@pytest.mark.parametrize(
    "statement, kind",
    [
        ("SELEC 1", "syntax"),
        (f'SELECT "Clos" FROM "{KEY}"', "unknown"),
        ('SELECT * FROM "NOBODY/1Min/OHLCV"', "unknown"),
    ],
)
def test_errors_say_where(client, bars, statement, kind):
    with pytest.raises(SqlError) as caught:
        client.sql(statement)
    assert caught.value.kind == kind
    assert caught.value.position is not None and caught.value.position[0] == 1
    assert "^" in caught.value.pretty()


def test_limits_name_themselves(new_server):
    from mkts.client import Client

    client = Client(new_server("sql: {statement_bytes: 200}\n").url, retries=0)
    with pytest.raises((LimitExceeded, SqlError), match="statement_bytes"):
        client.sql("SELECT " + "1 + " * 100 + "1")


def test_many_buckets_in_one_request(client, server):
    """`/write` is used: the report names each bucket, and a bad one harms no other."""
    at = np.datetime64("2020-01-02T14:30", "ns")
    client.write("BULKB/1Min/X", {"Epoch": [at], "Other": [1.0]})
    frames = {f"BULK{name}/1Min/X": {"Epoch": [at], "Price": [1.0], "Text": ["\u20acuro"]} for name in "ABC"}
    report = client.write_many(frames, on_error="report")
    assert report.rows == 2 and list(report.errors) == ["BULKB/1Min/X"]
    assert client._writer.has_bulk
    got = client.query(["BULKA/1Min/X", "BULKC/1Min/X"]).polars()
    assert (
        got["Text"].to_list() == ["\u20acuro"] * 2
        and got["Epoch"].dt.epoch("ns").to_list() == [at.astype(int)] * 2
    )
    # Ticks keep their nanoseconds, and every type is what it was.
    ticks = {
        f"BULK{name}/1Sec/T": {
            "Epoch": [at, at + np.timedelta64(7, "ns")],
            **{
                kind: np.array([1, 100], kind)
                for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
            },
        }
        for name in "AB"
    }
    client.write_many(ticks, kind="tick")
    stored = client.query("BULKB/1Sec/T").numpy()
    assert stored["Epoch"].tolist() == [column.astype(int) for column in ticks["BULKB/1Sec/T"]["Epoch"]]
    assert all(stored[kind].dtype == np.dtype(kind) for kind in stored if kind != "Epoch")
