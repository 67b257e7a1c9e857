"""What every store is asked for.

`prepare` makes of a table what the store takes best, and is not timed. Of the other calls the time is
taken around the call alone. Symbols are numbers, in the tables that have more than one: kinder to
these stores than strings. A call that a store has no way for stays `None` and is printed as n/a.
"""

import os
import pathlib

import numpy as np


class System:
    title = ""
    notes = ""
    # Rows at a time durably, one after the other; not all stores can.
    append = None
    append_many = None

    def version(self):
        raise NotImplementedError

    def open(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)

    def close(self):
        pass

    def prepare(self, table):
        return table

    def ingest(self, table, prepared):
        raise NotImplementedError

    def settle(self):
        """After all loads, not timed: what the store's makers advise before reading."""


def sync(path):
    """File and directory, as a store does that promises durability."""
    for name in [path, pathlib.Path(path).parent]:
        handle = os.open(name, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def arrow_columns(table):
    """Symbol number (if there are several), time, values."""
    columns = {}
    if len(table.symbols) > 1:
        share = table.rows // len(table.symbols)
        columns["symbol"] = np.repeat(np.arange(len(table.symbols), dtype=np.int32), share)
    columns["time"] = table.times
    columns.update(table.columns)
    return columns


def arrays(result):
    """The columns of an answer by name, whatever it is made of."""
    if hasattr(result, "to_pydict") and hasattr(result, "column_names"):  # pyarrow
        out = {}
        for name in result.column_names:
            out[name] = result.column(name).to_numpy()
        return out
    if hasattr(result, "get_columns"):  # polars
        return {s.name: s.to_numpy() for s in result.get_columns()}
    if hasattr(result, "columns"):  # pandas
        return {name: result[name].to_numpy() for name in result.columns}
    names, rows = result  # rows of tuples
    columns = list(zip(*rows)) if rows else [()] * len(names)
    return {n: np.array([np.nan if v is None else v for v in c]) for n, c in zip(names, columns)}
