"""The rows that every store gets: the real bars and ticks of data/, as they are or made long.

A year or ten of minutes are the regular sessions of the recorded days in random order. Each session
moves by a whole number of cents and its volumes are scaled, so that none occurs twice and a
compressor that remembers far back gains nothing that it would not gain on real years.
"""

import csv
import dataclasses
import gzip
import pathlib

import numpy as np

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 1440 * MINUTE
SESSION = 390
YEAR = 252 * SESSION
BAR_COLUMNS = ["Open", "High", "Low", "Close", "Volume"]
DATA = pathlib.Path(__file__).resolve().parents[2] / "data"


@dataclasses.dataclass
class Table:
    """Rows of one or more symbols, ordered by symbol and time."""

    name: str
    kind: str  # bar or tick
    symbols: list  # one name for each equal share of the rows
    times: np.ndarray
    columns: dict

    @property
    def rows(self):
        return len(self.times)

    def symbol_column(self):
        return np.repeat(np.array(self.symbols), self.rows // len(self.symbols))

    def write(self, directory):
        """The file that the driver reads: times, then each column, little-endian."""
        path = directory / f"{self.name}.bin"
        with open(path, "wb") as file:
            for values in [self.times, *self.columns.values()]:
                file.write(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
        return path


def load(name):
    with gzip.open(DATA / f"{name}.csv.gz", "rt", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        columns = dict(zip(header, zip(*rows)))
    seconds = np.array(columns.pop("Epoch"), dtype=np.int64)
    nanos = np.array(columns.pop("Nanoseconds", np.zeros(len(seconds))), dtype=np.int64)
    return seconds * SECOND + nanos, columns


def bars(name):
    times, columns = load(f"{name}_1Min_OHLCV")
    return times, {c: np.array(columns[c], dtype=np.float64) for c in BAR_COLUMNS}


def sessions(names=("SPY", "IBM")):
    """The recorded regular sessions that have a bar each minute."""
    found = []
    for name in names:
        times, columns = bars(name)
        minute = times % DAY // MINUTE
        for day in np.unique(times // DAY):
            rows = (times // DAY == day) & (minute >= 810) & (minute < 1200)
            if rows.sum() == SESSION:
                found.append({c: values[rows] for c, values in columns.items()})
    return found


def moved(session, open_cents, factor):
    """A session that opens at another price, with other volumes."""
    cents = open_cents - round(session["Open"][0] * 100)
    out = {c: np.round(np.round(session[c] * 100) + cents) / 100 for c in BAR_COLUMNS[:4]}
    out["Volume"] = np.maximum(1.0, np.round(session["Volume"] * factor))
    return out


def session_times(count):
    """Five sessions a week from Monday 2010-01-04 on, 14:30 UTC."""
    number = np.arange(count)
    day = 14613 + number // 5 * 7 + number % 5
    start = day * DAY + 870 * MINUTE
    return (start[:, None] + np.arange(SESSION) * MINUTE).reshape(-1)


def long_bars(name, rows, seed=1):
    rng = np.random.default_rng(seed)
    recorded = sessions()
    count = rows // SESSION
    cents = 16_000
    days = []
    for _ in range(count):
        day = moved(recorded[rng.integers(len(recorded))], cents, rng.uniform(0.4, 2.5))
        # The next day opens near this one's close.
        cents = max(1_000, round(day["Close"][-1] * 100) + int(rng.integers(-80, 81)))
        days.append(day)
    columns = {c: np.concatenate([day[c] for day in days]) for c in BAR_COLUMNS}
    return Table(name, "bar", [name.upper()], session_times(count), columns)


def many_bars(name, prefix, symbols, rows, seed=2):
    """The same minutes of many symbols."""
    rng = np.random.default_rng(seed)
    recorded = sessions()
    days = [
        moved(recorded[rng.integers(len(recorded))], int(rng.integers(1_000, 90_000)), rng.uniform(0.1, 5))
        for _ in range(symbols)
    ]
    columns = {c: np.concatenate([day[c][:rows] for day in days]) for c in BAR_COLUMNS}
    times = np.tile(session_times(1)[:rows], symbols)
    return Table(name, "bar", [f"{prefix}{i:05}" for i in range(symbols)], times, columns)


def first_rows(table, name, rows):
    columns = {c: values[:rows] for c, values in table.columns.items()}
    return Table(name, table.kind, [name.upper()], table.times[:rows], columns)


def recorded_bars():
    """The minutes as they were recorded, before and after hours too."""
    times, columns = bars("SPY")
    return Table("recorded", "bar", ["RECORDED"], times, columns)


def trades(name="trades", days=1):
    times, columns = load("IBM_Tick_TRADE")
    price = np.array(columns["Price"], dtype=np.float64)
    size = np.array(columns["Size"], dtype=np.int32)
    order = np.argsort(times, kind="stable")
    times, price, size = times[order], price[order], size[order]
    rng = np.random.default_rng(3)
    days_of = []
    for day in range(days):
        cents = 0 if day == 0 else int(rng.integers(-2000, 2000))
        scale = 1.0 if day == 0 else rng.uniform(0.5, 2)
        sizes = np.maximum(1, np.round(size * scale)).astype(np.int32)
        days_of.append((times + day * DAY, np.round(price * 100 + cents) / 100 if cents else price, sizes))
    joined = [np.concatenate(part) for part in zip(*days_of)]
    return Table(name, "tick", [name.upper()], joined[0], {"Price": joined[1], "Size": joined[2]})


def quotes(name="quotes", distinct=False):
    """Quotes; with `distinct` only the last of each time, so that every as-of join agrees."""
    times, columns = load("IBM_Tick_QUOTE")
    order = np.argsort(times, kind="stable")
    times = times[order]
    types = {"Bid": np.float64, "BidSize": np.int32, "Ask": np.float64, "AskSize": np.int32}
    columns = {c: np.array(columns[c], dtype=ty)[order] for c, ty in types.items()}
    if distinct:
        keep = np.append(times[1:] != times[:-1], True)
        times, columns = times[keep], {c: v[keep] for c, v in columns.items()}
    return Table(name, "tick", [name.upper()], times, columns)
