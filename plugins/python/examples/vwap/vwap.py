"""Volume-weighted average price of the day so far, beside the bars it is made of.

For each bar of SYM/1Min/OHLCV a row of SYM/1Min/VWAP: `Vwap`, and `Volume` of the day up to it.
"""

from dataclasses import dataclass

import numpy as np

from mkts.plugin import Deleted, Fatal, Gap, Write, trigger

DAY = np.timedelta64(1, "D")


@dataclass
class Config:
    # Attribute group of the rows that are written.
    into: str = "VWAP"


@dataclass
class Sums:
    """Of one symbol's day, up to the last bar seen."""

    day: str = ""
    last: int = -1
    amount: float = 0.0
    volume: int = 0


@trigger("vwap", "1.0.0", config=Config, delivery="exact", accepts_gap=True, metrics=["bars"])
class Vwap:
    def __init__(self, config):
        self.config = config

    def fire(self, ctx, event):
        match event:
            case Write(batch):
                self.add(ctx, batch.key, batch.numpy())
            case Gap(key, start, _):
                # Rows behind the sums have changed: the days from there on are made anew.
                ctx.state.delete(key)
                self.again(ctx, key, np.datetime64(start, "ns"))
            case Deleted(key):
                ctx.state.delete(key)

    def add(self, ctx, key, columns):
        sums = ctx.state.get_as(key, Sums)
        times = columns["Epoch"].view("i8")
        is_next = sums is not None and times[0] > sums.last and np.all(np.diff(times) > 0)
        if is_next:
            self.write(ctx, key, columns, sums)
        else:
            # The first of this bucket, or corrections of bars that are summed up already.
            self.again(ctx, key, columns["Epoch"].min())

    def again(self, ctx, key, start):
        columns = ctx.query(key, start.astype("M8[D]"))
        if columns is not None and len(columns):
            self.write(ctx, key, columns.numpy(), Sums())

    def write(self, ctx, key, columns, sums):
        missing = {"High", "Low", "Close", "Volume"} - columns.keys()
        if missing:
            raise Fatal(f"{key} has no column {', '.join(sorted(missing))}")
        days = columns["Epoch"].astype("M8[D]")
        price = (columns["High"].astype("f8") + columns["Low"] + columns["Close"]) / 3
        vwap, volume = np.empty(len(days)), np.empty(len(days), "i8")
        for day in np.unique(days):
            here = days == day
            if sums.day != str(day):
                sums = Sums(str(day))
            traded = columns["Volume"][here].astype("i8")
            amounts = sums.amount + np.cumsum(price[here] * traded)
            volumes = sums.volume + np.cumsum(traded)
            # A day that begins without trades has the price of its bar.
            vwap[here] = np.where(volumes > 0, amounts / np.maximum(volumes, 1), price[here])
            volume[here] = volumes
            sums.amount, sums.volume = float(amounts[-1]), int(volumes[-1])
        sums.last = int(columns["Epoch"].view("i8")[-1])
        ctx.write(
            f"{key.symbol}/{key.timeframe}/{self.config.into}",
            {"Epoch": columns["Epoch"], "Vwap": vwap, "Volume": volume},
        )
        ctx.state.put_as(key, sums)
        ctx.count("bars", len(days))
