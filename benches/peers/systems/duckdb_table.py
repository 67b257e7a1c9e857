"""DuckDB: one file, one table a data set, rows in the order of time."""

import threading

import duckdb
import pyarrow as pa

from .base import System as Base
from .base import arrow_columns


class System(Base):
    title = "DuckDB"
    notes = "tables in one file; answers as Arrow; every INSERT commits with one fdatasync"

    def version(self):
        return duckdb.__version__

    def open(self, directory):
        super().open(directory)
        self.db = duckdb.connect(str(self.directory / "bench.duckdb"))
        self.db.execute("CREATE TABLE IF NOT EXISTS appended (time BIGINT, Open DOUBLE, High DOUBLE, Low DOUBLE, Close DOUBLE, Volume DOUBLE)")

    def close(self):
        self.db.execute("CHECKPOINT")
        self.db.close()

    def prepare(self, table):
        return pa.table(arrow_columns(table))

    def ingest(self, table, prepared):
        self.db.register("given", prepared)
        self.db.execute(f"CREATE TABLE {table.name} AS SELECT * FROM given")
        self.db.execute("CHECKPOINT")

    def ask(self, sql, *values):
        found = self.db.execute(sql, values)
        return found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.fetch_arrow_table()

    def range(self, table, start, end):
        return self.ask(f"SELECT * FROM {table} WHERE time BETWEEN ? AND ?", start, end)

    def last(self, table, count):
        return self.ask(f"SELECT * FROM (SELECT * FROM {table} ORDER BY time DESC LIMIT {count}) ORDER BY time")

    def last_of_all(self, table):
        columns = ", ".join(f"arg_max({c}, time) AS {c}" for c in ["Open", "High", "Low", "Close", "Volume"])
        return self.ask(f"SELECT symbol, max(time) AS time, {columns} FROM {table} GROUP BY symbol")

    def column(self, table, column, start, end):
        return self.ask(f"SELECT symbol, time, {column} FROM {table} WHERE time BETWEEN ? AND ?", start, end)

    def aggregate(self, table, nanos):
        return self.ask(
            f"SELECT time - time % {nanos} AS start, arg_min(Open, time) AS Open, max(High) AS High, min(Low) AS Low,"
            f" arg_max(Close, time) AS Close, sum(Volume) AS Volume FROM {table} GROUP BY start ORDER BY start"
        )

    def asof(self, trades, quotes):
        return self.ask(
            f"SELECT t.time, t.Price, t.Size, t.Seq, q.Bid, q.Ask FROM {trades} t"
            f" ASOF LEFT JOIN {quotes} q ON t.time >= q.time"
        )

    def append(self, row):
        self.db.execute("INSERT INTO appended VALUES (?, ?, ?, ?, ?, ?)", row)

    def append_many(self, writers, rows):
        def write(start, rows):
            own = self.db.cursor()
            for row in rows:
                own.execute("INSERT INTO appended VALUES (?, ?, ?, ?, ?, ?)", row)

        threads = [threading.Thread(target=write, args=(i, rows[i::writers])) for i in range(writers)]
        [t.start() for t in threads]
        [t.join() for t in threads]
