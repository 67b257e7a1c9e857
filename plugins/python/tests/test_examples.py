"""The examples do what they say, on real bars."""

import csv
import gzip

import numpy as np
import pytest

from fake import HERE, written

ROOT = HERE.parent
DATA = ROOT.parent.parent / "data"
VWAP = f"{ROOT / 'examples' / 'vwap' / 'vwap.py'}:Vwap"


def real_bars(symbol):
    with gzip.open(DATA / f"{symbol}_1Min_OHLCV.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    bars = {"Epoch": np.array([int(row["Epoch"]) for row in rows]).astype("M8[s]").astype("M8[ns]")}
    for name in ("Open", "High", "Low", "Close"):
        bars[name] = np.array([row[name] for row in rows], "f4")
    bars["Volume"] = np.array([float(row["Volume"]) for row in rows]).astype("i4")
    return bars


def expected(bars):
    """Row by row, as one would with a pencil."""
    day, amount, volume, found = None, 0.0, 0, []
    for at in range(len(bars["Epoch"])):
        today = bars["Epoch"][at].astype("M8[D]")
        if today != day:
            day, amount, volume = today, 0.0, 0
        prices = [float(bars[name][at]) for name in ("High", "Low", "Close")]
        amount += sum(prices) / 3 * int(bars["Volume"][at])
        volume += int(bars["Volume"][at])
        found.append(amount / volume if volume else sum(prices) / 3)
    return np.array(found)


def cut(bars, start, end):
    return {name: values[start:end] for name, values in bars.items()}


def test_vwap_of_windows_and_of_corrections_is_that_of_all_bars(start):
    if not DATA.is_dir():
        pytest.skip(f"needs the repository's {DATA}")
    bars = real_bars("AAPL")
    count = len(bars["Epoch"])
    assert count > 500
    server = start(VWAP)
    server.configure()
    stored = {}

    def fire(batch, upto, **fields):
        server.rows["AAPL/1Min/OHLCV"] = [cut(bars, 0, upto)]
        ack = server.fire(batch, **fields)
        assert ack.code == 0, ack.message
        for effect in ack.effects:
            if effect.HasField("write"):
                assert effect.write.key == "AAPL/1Min/VWAP"
                rows = written(server, effect.write)
                stored.update(zip(rows["Epoch"].tolist(), rows["Vwap"].tolist()))

    def check(upto):
        times = bars["Epoch"][:upto].tolist()
        assert list(stored) == times
        np.testing.assert_allclose([stored[time] for time in times], expected(cut(bars, 0, upto)))

    places = [0, 1, 2, 150, 151, 400, count]
    for first, last in zip(places, places[1:]):
        fire(cut(bars, first, last), last)
    check(count)
    # Only the first window had to ask.
    assert len(server.calls) == 1
    bars["Close"][count - 40] *= 2
    fire(cut(bars, count - 40, count - 39), count)
    check(count)
    bars["Volume"][3] += 1000
    fire(None, count, type=2, key="AAPL/1Min/OHLCV", from_ns=int(bars["Epoch"][3].astype("i8")))
    check(count)
    ack = server.fire(type=3, key="AAPL/1Min/OHLCV")
    assert ack.effects[0].delete.key == b"AAPL/1Min/OHLCV"
    server.rows["AAPL/1Min/OHLCV"] = [{"Epoch": [1], "Price": [1.0]}]
    ack = server.fire({"Epoch": [1], "Price": [1.0]})
    assert (ack.code, ack.message) == (3, "AAPL/1Min/OHLCV has no column Close, High, Low, Volume")
