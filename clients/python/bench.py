"""Rows in a second through the Python clients, written and read, side by side.

usage: python bench.py [URL] [--rows N] [--symbols N] [--rounds N] [--json]

The server is one for trying out: buckets `BENCH*` are written and dropped. `mkts.client`,
`mkts.compat` and, where it is installed, pymarketstore do the same in turns; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import mkts.compat
from mkts.client import Client

MINUTE = 60
START = 1_577_836_800
BARS = [("Epoch", "i8"), ("Open", "f4"), ("High", "f4"), ("Low", "f4"), ("Close", "f4"), ("Volume", "i4")]


def bars(rows: int) -> np.ndarray:
    """Bars of a random walk, the same each time."""
    walk = 100 + np.random.default_rng(7).normal(0, 0.02, rows).cumsum()
    array = np.zeros(rows, dtype=BARS)
    array["Epoch"] = START + np.arange(rows) * MINUTE
    for name, off in (("Open", 0.0), ("High", 0.03), ("Low", -0.03), ("Close", 0.01)):
        array[name] = np.round(walk + off, 2)
    array["Volume"] = np.random.default_rng(8).integers(1, 10_000, rows)
    return array


class Modern:
    """`mkts.client` with DataFrames."""

    name = "mkts.client"

    def __init__(self, url: str, data: np.ndarray) -> None:
        self.client = Client(url)
        index = pd.DatetimeIndex(data["Epoch"].astype("M8[s]").astype("M8[ns]"), name="Epoch", tz="UTC")
        self.frame = pd.DataFrame({name: data[name] for name, _ in BARS[1:]}, index=index)

    def write(self, key: str) -> None:
        self.client.write(key, self.frame, kind="bar")

    def read(self, key: str) -> int:
        return len(self.client.query(key).pandas())

    def last(self, symbols: list[str]) -> int:
        return len(self.client.query([f"{symbol}/1Min/OHLCV" for symbol in symbols], limit=1).pandas())


class Old:
    """pymarketstore, or what stands for it."""

    def __init__(self, module: Any, url: str, data: np.ndarray) -> None:
        self.name = module.__name__
        self.module = module
        self.client = module.Client(f"{url}/rpc")
        self.data = data

    def write(self, key: str) -> None:
        assert self.client.write(self.data, key) == {"responses": None}

    def read(self, key: str) -> int:
        return len(self.client.query(self.module.Params(*key.split("/"))).first().df())

    def last(self, symbols: list[str]) -> int:
        reply = self.client.query(self.module.Params(symbols, "1Min", "OHLCV", limit=1))
        return sum(len(dataset.df()) for dataset in reply.all().values())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(url: str, rows: int, symbols: int, rounds: int) -> dict[str, dict[str, float]]:
    """Rows in a second by client and by what is done."""
    data = bars(rows)
    clients: list[Any] = [Modern(url, data), Old(mkts.compat, url, data)]
    try:
        import pymarketstore

        clients.append(Old(pymarketstore, url, data))
    except ImportError:
        pass
    steward = Client(url)
    many = [f"BENCHS{number}" for number in range(symbols)]
    one = {"Epoch": np.array([START], "M8[s]"), "Close": np.array([1.0], "f4")}
    steward.write_many({f"{symbol}/1Min/OHLCV": one for symbol in many}, atomic=True, kind="bar")
    times: dict[str, dict[str, list[float]]] = {
        one.name: {"write": [], "read": [], "last": []} for one in clients
    }
    for turn in range(rounds):
        for client in clients:
            key = f"BENCH{turn}/1Min/OHLCV"
            steward.destroy(key, missing_ok=True)
            taken = times[client.name]
            taken["write"].append(rows / seconds(lambda: client.write(key)))
            taken["read"].append(rows / seconds(lambda: client.read(key)))
            taken["last"].append(symbols / seconds(lambda: client.last(many)))
            assert client.read(key) == rows and client.last(many) == symbols
            steward.destroy(key)
    for symbol in many:
        steward.destroy(f"{symbol}/1Min/OHLCV")
    return {
        name: {what: statistics.median(all) for what, all in taken.items()} for name, taken in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", default=os.environ.get("MKTS_URL", "http://127.0.0.1:5993"))
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the bucket that is written and read")
    parser.add_argument("--symbols", type=int, default=1000, help="whose last row is read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.url, given.rows, given.symbols, given.rounds)
    if given.json:
        print(
            json.dumps(
                {
                    "rows": given.rows,
                    "symbols": given.symbols,
                    "rounds": given.rounds,
                    "rows_per_second": found,
                }
            )
        )
        return
    print(f"{'rows in a second':20}{'write':>14}{'read':>14}{'last of ' + str(given.symbols):>16}")
    for name, taken in found.items():
        print(f"{name:20}{taken['write']:14,.0f}{taken['read']:14,.0f}{taken['last']:16,.0f}")


if __name__ == "__main__":
    main()
