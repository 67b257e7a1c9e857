"""ClickHouse in the process (chdb): MergeTree in the order of time, inserts synced."""

import pyarrow as pa
from chdb import session

from .base import System as Base
from .base import arrow_columns

SYNCED = "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1"
TYPES = {"int64": "Int64 CODEC(DoubleDelta, ZSTD)", "int32": "Int32 CODEC(ZSTD)", "double": "Float64 CODEC(ZSTD)"}
BARS = ["Open", "High", "Low", "Close", "Volume"]


class System(Base):
    title = "ClickHouse"
    notes = "chdb: MergeTree with fsync_after_insert, DoubleDelta and ZSTD; answers as Arrow"

    def version(self):
        import chdb

        return f"{chdb.engine_version}" if hasattr(chdb, "engine_version") else chdb.__version__

    def open(self, directory):
        super().open(directory)
        self.session = session.Session(str(self.directory))
        self.run("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        columns = ", ".join(f"{c} {TYPES['double']}" for c in BARS)
        self.make("appended", f"time {TYPES['int64']}, {columns}", "time")

    def close(self):
        self.session.close()

    def make(self, name, columns, order):
        self.run(
            f"CREATE TABLE IF NOT EXISTS bench.{name} ({columns}) ENGINE = MergeTree ORDER BY ({order}) SETTINGS {SYNCED}"
        )

    def run(self, sql):
        self.session.query(sql)

    def prepare(self, table):
        return pa.table(arrow_columns(table))

    def ingest(self, table, prepared):
        columns = [(f.name, TYPES[str(f.type)]) for f in prepared.schema]
        order = "symbol, time" if len(table.symbols) > 1 else "time"
        self.make(table.name, ", ".join(f"{n} {t}" for n, t in columns), order)
        given = prepared  # found by its name
        self.run(f"INSERT INTO bench.{table.name} SELECT * FROM Python(given)")

    def settle(self):
        names = str(self.session.query("SELECT name FROM system.tables WHERE database = 'bench'", "TSV"))
        for name in names.split():
            self.run(f"OPTIMIZE TABLE bench.{name} FINAL")

    def ask(self, sql):
        return self.session.query(sql, "ArrowTable")

    def range(self, table, start, end):
        return self.ask(f"SELECT * FROM bench.{table} WHERE time BETWEEN {start} AND {end} ORDER BY time")

    def last(self, table, count):
        return self.ask(f"SELECT * FROM (SELECT * FROM bench.{table} ORDER BY time DESC LIMIT {count}) ORDER BY time")

    def last_of_all(self, table):
        columns = ", ".join(f"argMax({c}, t.time) AS {c}" for c in BARS)
        return self.ask(f"SELECT symbol, max(t.time) AS time, {columns} FROM bench.{table} AS t GROUP BY symbol")

    def column(self, table, column, start, end):
        return self.ask(
            f"SELECT symbol, time, {column} FROM bench.{table} WHERE time BETWEEN {start} AND {end} ORDER BY symbol, time"
        )

    def aggregate(self, table, nanos):
        return self.ask(
            f"SELECT intDiv(t.time, {nanos}) * {nanos} AS start, argMin(t.Open, t.time) AS Open, max(t.High) AS High,"
            " min(t.Low) AS Low, argMax(t.Close, t.time) AS Close, sum(t.Volume) AS Volume"
            f" FROM bench.{table} AS t GROUP BY start ORDER BY start"
        )

    def asof(self, trades, quotes):
        return self.ask(
            "SELECT t.time AS time, t.Price AS Price, t.Size AS Size, t.Seq AS Seq, q.Bid AS Bid, q.Ask AS Ask"
            f" FROM (SELECT *, 1 AS one FROM bench.{trades}) AS t"
            f" ASOF LEFT JOIN (SELECT *, 1 AS one FROM bench.{quotes}) AS q ON t.one = q.one AND t.time >= q.time"
            " SETTINGS join_use_nulls = 1"
        )

    def append(self, row):
        self.run(f"INSERT INTO bench.appended VALUES ({', '.join(map(repr, row))})")
