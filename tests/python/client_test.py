"""Drives a running mkts server with the unmodified pymarketstore client.

usage: client_test.py HOST:PORT DATA_DIRECTORY

Everything that is written comes back value for value; the exit code is 0 only then.
"""

import csv
import gzip
import os
import sys
import threading
import time

import numpy as np
import pandas as pd
import pymarketstore as pymkts

ADDRESS, DATA = sys.argv[1], sys.argv[2]
CLIENT = pymkts.Client(endpoint=f"http://{ADDRESS}/rpc")
BARS = [("Epoch", "i8"), ("Open", "f4"), ("High", "f4"), ("Low", "f4"), ("Close", "f4"), ("Volume", "i4")]


def real_bars(symbol, limit=None):
    """Bars of the bundled data as a record array."""
    path = os.path.join(DATA, f"{symbol}_1Min_OHLCV.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = [
            (int(r["Epoch"]), *(float(r[c]) for c in ("Open", "High", "Low", "Close")), int(float(r["Volume"])))
            for r in csv.DictReader(file)
        ]
    array = np.array(rows[:limit], dtype=BARS)
    assert len(array) > 500, f"{path} holds bars"
    return array


def same(got, wanted, what):
    """Exact comparison of the bytes of two structured arrays, column by column."""
    assert list(got.dtype.names) == list(wanted.dtype.names), (what, got.dtype, wanted.dtype)
    assert len(got) == len(wanted), (what, len(got), len(wanted))
    for name in wanted.dtype.names:
        assert got.dtype[name] == wanted.dtype[name], (what, name, got.dtype[name])
        assert np.ascontiguousarray(got[name]).tobytes() == np.ascontiguousarray(wanted[name]).tobytes(), (what, name)


def query(*args, **kwargs):
    return CLIENT.query(pymkts.Params(*args, **kwargs))


def bars():
    aapl, ibm = real_bars("AAPL"), real_bars("IBM")
    for symbol, rows in (("AAPL", aapl), ("IBM", ibm)):
        reply = CLIENT.write(rows, f"{symbol}/1Min/OHLCV")
        assert reply == {"responses": None}, reply
    same(query("AAPL", "1Min", "OHLCV").first().array, aapl, "all rows")

    start, end = int(aapl["Epoch"][100]), int(aapl["Epoch"][199])
    same(query("AAPL", "1Min", "OHLCV", start=start, end=end).first().array, aapl[100:200], "range")
    start, end = pd.Timestamp(start, unit="s"), pd.Timestamp(end, unit="s")
    same(query("AAPL", "1Min", "OHLCV", start=start, end=end).first().array, aapl[100:200], "range by time")
    same(query("AAPL", "1Min", "OHLCV", limit=7).first().array, aapl[-7:], "last rows")
    reply = query("AAPL", "1Min", "OHLCV", limit=7, limit_from_start=True)
    same(reply.first().array, aapl[:7], "first rows")
    reply = query("AAPL", "1Min", "OHLCV", columns=["Close", "Open"])
    same(reply.first().array, aapl[["Epoch", "Close", "Open"]], "columns")

    both = query(["AAPL", "IBM"], "1Min", "OHLCV").all()
    assert sorted(both) == ["AAPL/1Min/OHLCV", "IBM/1Min/OHLCV"], sorted(both)
    same(both["AAPL/1Min/OHLCV"].array, aapl, "first of two")
    same(both["IBM/1Min/OHLCV"].array, ibm, "second of two")

    frame = query("IBM", "1Min", "OHLCV", limit=3).first().df()
    assert list(frame.index) == list(pd.to_datetime(ibm["Epoch"][-3:], unit="s", utc=True)), frame
    assert list(frame.columns) == ["Open", "High", "Low", "Close", "Volume"], frame

    empty = query("AAPL", "1Min", "OHLCV", start=int(aapl["Epoch"][-1]) + 60).first()
    assert len(empty.array) == 0 and list(empty.array.dtype.names) == [n for n, _ in BARS]

    # A correction replaces the bar and nothing else.
    corrected = aapl[50:51].copy()
    corrected["High"] += 1
    assert CLIENT.write(corrected, "AAPL/1Min/OHLCV") == {"responses": None}
    aapl[50] = corrected[0]
    same(query("AAPL", "1Min", "OHLCV").first().array, aapl, "after a correction")

    reply = CLIENT.write(aapl[["Epoch", "Open"]].astype([("Epoch", "i8"), ("Open", "f4")]), "AAPL/1Min/OHLCV")
    assert "unable to match data columns" in reply["responses"][0]["error"], reply
    try:
        query("NOBODY", "1Min", "OHLCV")
        raise AssertionError("an unknown symbol must raise")
    except Exception as e:
        assert str(e) == "no files returned from query parse: None", e


def ticks():
    dtype = [("Epoch", "i8"), ("Nanoseconds", "i4"), ("Price", "f8"), ("Size", "u4")]
    rows = [
        (1381152600, 0, 184.5, 100),
        (1381152600, 1, 184.51, 200),
        (1381152600, 999_999_999, 184.52, 1),
        (1381152601, 0, 184.5, 7),
        (1381152601, 0, 184.49, 8),
    ]
    reply = CLIENT.write(np.array(rows, dtype=dtype), "IBM/1Sec/TRADE", isvariablelength=True)
    assert reply == {"responses": None}, reply
    got = query("IBM", "1Sec", "TRADE").first().array
    assert got.dtype.names == ("Epoch", "Price", "Size", "Nanoseconds"), got.dtype
    assert [(int(r["Epoch"]), int(r["Nanoseconds"]), float(r["Price"]), int(r["Size"])) for r in got] == rows, got


def administration():
    symbols = CLIENT.list_symbols()
    assert sorted(symbols) == ["AAPL", "IBM"], symbols
    keys = CLIENT.list_symbols(pymkts.ListSymbolsFormat.TBK)
    assert {"AAPL/1Min/OHLCV", "IBM/1Min/OHLCV", "IBM/1Sec/TRADE"} <= set(keys), keys
    reply = CLIENT.create("NEW/1Min/OHLCV", BARS[1:])
    assert reply["responses"][0]["error"] == "", reply
    assert len(query("NEW", "1Min", "OHLCV").first().array) == 0
    # The client sends row_type; a variable bucket must come out as one.
    reply = CLIENT.create("NEW/1Sec/TICK", [("Bid", "f4")], isvariablelength=True)
    assert reply["responses"][0]["error"] == "", reply
    assert query("NEW", "1Sec", "TICK").first().array.dtype.names == ("Epoch", "Bid", "Nanoseconds")
    assert "Can not overwrite file" in CLIENT.create("NEW/1Min/OHLCV", BARS[1:])["responses"][0]["error"]
    for key in ("NEW/1Min/OHLCV", "NEW/1Sec/TICK"):
        reply = CLIENT.destroy(key)
        assert reply["responses"][0]["error"] == "", reply
    assert "NEW" not in CLIENT.list_symbols()
    assert CLIENT.destroy("NEW/1Min/OHLCV")["responses"][0]["error"] != ""
    assert isinstance(CLIENT.server_version(), str)


def stream():
    arrived, got = threading.Event(), []
    conn = pymkts.StreamConn(f"ws://{ADDRESS}/ws")

    @conn.on(r"^STRM/")
    def on_bar(_conn, message):
        got.append(message)
        arrived.set()

    thread = threading.Thread(target=conn.run, args=(["STRM/1Min/OHLCV"],), daemon=True)
    thread.start()
    # The client does not say when it has subscribed: write until the first message arrives.
    row = np.array([(1402063200, 92.5, 93.25, 92.0, 93.0, 4711)], dtype=BARS)
    for _ in range(200):
        assert CLIENT.write(row, "STRM/1Min/OHLCV") == {"responses": None}
        if arrived.wait(0.1):
            break
    assert got, "no message arrived"
    assert got[0] == {
        "key": "STRM/1Min/OHLCV",
        "data": {"Epoch": 1402063200, "Open": 92.5, "High": 93.25, "Low": 92.0, "Close": 93.0, "Volume": 4711},
    }, got[0]


def aggregates():
    """The 5Min bars that the trigger made of the real minutes equal a recomputation."""
    base = query("IBM", "1Min", "OHLCV").first().df()
    wanted = base.resample("5min").agg({"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"})
    wanted = wanted[wanted["Open"].notna()]
    deadline = time.monotonic() + 30
    while True:
        try:
            got = query("IBM", "5Min", "OHLCV").first().df()
            pd.testing.assert_frame_equal(got, wanted, check_freq=False, check_names=False, check_dtype=False, check_index_type=False, check_exact=True)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


for part in (bars, ticks, administration, stream, aggregates):
    part()
    print(f"ok {part.__name__}", flush=True)
print("all parts passed", flush=True)
