"""DuckDB over Parquet files with zstd, one file a data set."""

import duckdb
import pyarrow as pa

from .base import System as Base
from .base import arrow_columns, sync


class System(Base):
    title = "DuckDB + Parquet"
    notes = "one Parquet file with zstd a data set, written by DuckDB, fsynced; answers as Arrow"

    def version(self):
        return duckdb.__version__

    def open(self, directory):
        super().open(directory)
        self.db = duckdb.connect()

    def close(self):
        self.db.close()

    def path(self, table):
        return self.directory / f"{table}.parquet"

    def prepare(self, table):
        columns = arrow_columns(table)
        columns["time"] = pa.array(columns["time"]).cast(pa.timestamp("ns"))
        return pa.table(columns)

    def ingest(self, table, prepared):
        self.db.register("given", prepared)
        self.db.execute(f"COPY given TO '{self.path(table.name)}' (FORMAT parquet, COMPRESSION zstd)")
        sync(self.path(table.name))

    def sql(self, text):
        """`{name}` in the text is the file of the table."""
        found = self.db.execute(text.format_map(Files(self)))
        return found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.fetch_arrow_table()


class Files:
    def __init__(self, system):
        self.system = system

    def __getitem__(self, name):
        return f"'{self.system.path(name)}'"
