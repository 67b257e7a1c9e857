"""Vortex files, one a data set, kept open; where a query is needed, Polars over what was read."""

import numpy as np
import polars as pl
import pyarrow as pa
import vortex
import vortex.expr as ve

from .base import System as Base
from .base import arrow_columns, sync
from .polars_parquet import join, roll_up


class System(Base):
    title = "Vortex"
    notes = "one file a data set, fsynced, kept open; roll-up and join by Polars; rows cannot be added to a file"

    def version(self):
        import importlib.metadata

        return importlib.metadata.version("vortex-data")

    def open(self, directory):
        super().open(directory)
        self.files = {}

    def close(self):
        self.files = {}

    def prepare(self, table):
        return pa.table(arrow_columns(table))

    def ingest(self, table, prepared):
        path = self.directory / f"{table.name}.vortex"
        vortex.io.write(prepared, str(path))
        sync(path)

    def file(self, table):
        if table not in self.files:
            self.files[table] = vortex.open(str(self.directory / f"{table}.vortex"))
        return self.files[table]

    def read(self, table, columns=None, **how):
        return self.file(table).scan(columns, **how).read_all().to_arrow_table()

    def between(self, start, end):
        return ve.and_(ve.column("time") >= start, ve.column("time") <= end)

    def range(self, table, start, end):
        if start == np.iinfo(np.int64).min:
            return self.read(table)
        return self.read(table, expr=self.between(start, end))

    def last(self, table, count):
        rows = len(self.file(table))
        return self.read(table, indices=vortex.array(pa.array(np.arange(rows - count, rows, dtype=np.uint64))))

    def last_of_all(self, table):
        return pl.from_arrow(self.read(table)).group_by("symbol", maintain_order=True).last()

    def column(self, table, column, start, end):
        return self.read(table, ["symbol", "time", column], expr=self.between(start, end))

    def aggregate(self, table, nanos):
        return roll_up(pl.from_arrow(self.read(table)).lazy(), nanos).collect()

    def asof(self, trades, quotes):
        quotes = pl.from_arrow(self.read(quotes, ["time", "Bid", "Ask"]))
        return join(pl.from_arrow(self.read(trades)).lazy(), quotes.lazy()).collect()
