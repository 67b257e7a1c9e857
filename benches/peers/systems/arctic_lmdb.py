"""ArcticDB on LMDB: one symbol a data set; many symbols are one frame in the order of time."""

import arcticdb
import numpy as np
import pandas as pd
import polars as pl

from .base import System as Base
from .base import arrow_columns
from .polars_parquet import join

MIN = np.iinfo(np.int64).min


class System(Base):
    title = "ArcticDB"
    notes = "LMDB; answers as Arrow; an append is several transactions, each synced; join by Polars"

    def version(self):
        return arcticdb.__version__

    def open(self, directory):
        super().open(directory)
        self.arctic = arcticdb.Arctic(f"lmdb://{self.directory}/lmdb?map_size=4GB")
        self.library = self.arctic.get_library("bench", create_if_missing=True)

    def close(self):
        del self.library
        del self.arctic

    def prepare(self, table):
        columns = arrow_columns(table)
        if len(table.symbols) > 1:
            order = np.argsort(columns["time"], kind="stable")
            columns = {name: values[order] for name, values in columns.items()}
        return frame(columns)

    def ingest(self, table, prepared):
        self.library.write(table.name, prepared)

    def read(self, table, **how):
        return self.library.read(table, output_format="PYARROW", **how).data

    def range(self, table, start, end):
        return self.read(table) if start == MIN else self.read(table, date_range=span(start, end))

    def last(self, table, count):
        return self.library.tail(table, count, output_format="PYARROW").data

    def last_of_all(self, table):
        return pl.from_arrow(self.read(table)).group_by("symbol").last()

    def column(self, table, column, start, end):
        return self.read(table, columns=["symbol", column], date_range=span(start, end))

    def aggregate(self, table, nanos):
        how = {"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"}
        query = arcticdb.QueryBuilder().resample(f"{nanos // 60_000_000_000}min").agg(how)
        return self.read(table, query_builder=query)

    def asof(self, trades, quotes):
        quotes = pl.from_arrow(self.read(quotes, columns=["Bid", "Ask"]))
        return join(pl.from_arrow(self.read(trades)).lazy(), quotes.lazy()).collect()

    def append(self, row):
        names = ["time", "Open", "High", "Low", "Close", "Volume"]
        self.library.append("appended", frame({n: np.array([v]) for n, v in zip(names, row)}))


def span(start, end):
    return (pd.Timestamp(start), pd.Timestamp(end))


def frame(columns):
    columns = dict(columns)
    index = pd.DatetimeIndex(columns.pop("time"), name="time")
    return pd.DataFrame(columns, index=index)
