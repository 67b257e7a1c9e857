"""Polars over Parquet files with zstd, one file a data set."""

import polars as pl

from .base import System as Base
from .base import arrow_columns, sync


class System(Base):
    title = "Polars + Parquet"
    notes = "one Parquet file with zstd a data set, fsynced; rows cannot be added to a file"

    def version(self):
        return pl.__version__

    def path(self, table):
        return self.directory / f"{table}.parquet"

    def prepare(self, table):
        return pl.DataFrame(arrow_columns(table))

    def ingest(self, table, prepared):
        prepared.write_parquet(self.path(table.name), compression="zstd")
        sync(self.path(table.name))

    def scan(self, table):
        return pl.scan_parquet(self.path(table))

    def between(self, table, start, end):
        return self.scan(table).filter(pl.col("time").is_between(start, end))

    def range(self, table, start, end):
        return self.between(table, start, end).collect()

    def last(self, table, count):
        return self.scan(table).tail(count).collect()

    def last_of_all(self, table):
        return self.scan(table).group_by("symbol", maintain_order=True).last().collect()

    def column(self, table, column, start, end):
        return self.between(table, start, end).select("symbol", "time", column).collect()

    def aggregate(self, table, nanos):
        return roll_up(self.scan(table), nanos).collect()

    def asof(self, trades, quotes):
        return join(self.scan(trades), self.scan(quotes)).collect()


def roll_up(frame, nanos):
    first, last = pl.col("Open").first(), pl.col("Close").last()
    values = [first, pl.col("High").max(), pl.col("Low").min(), last, pl.col("Volume").sum()]
    return frame.set_sorted("time").group_by_dynamic("time", every=f"{nanos}i").agg(values)


def join(trades, quotes):
    quotes = quotes.select("time", "Bid", "Ask").set_sorted("time")
    return trades.set_sorted("time").join_asof(quotes, on="time")
