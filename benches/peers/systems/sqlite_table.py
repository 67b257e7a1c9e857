"""SQLite: WAL, synchronous=FULL, the key is the time (or symbol and time)."""

import sqlite3
import threading

from .base import System as Base
from .base import arrow_columns

BARS = "time INTEGER PRIMARY KEY, Open REAL, High REAL, Low REAL, Close REAL, Volume REAL"


class System(Base):
    title = "SQLite"
    notes = "WAL, synchronous=FULL; answers are Python tuples, which cost more than the query"

    def version(self):
        return sqlite3.sqlite_version

    def connect(self):
        db = sqlite3.connect(str(self.directory / "bench.sqlite"), isolation_level=None, timeout=60)
        for pragma in ["journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "mmap_size=1073741824"]:
            db.execute(f"PRAGMA {pragma}").fetchall()
        return db

    def open(self, directory):
        super().open(directory)
        self.db = self.connect()
        self.db.execute(f"CREATE TABLE IF NOT EXISTS appended ({BARS})")

    def close(self):
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.db.close()

    def prepare(self, table):
        columns = arrow_columns(table)
        return list(columns), list(zip(*[values.tolist() for values in columns.values()]))

    def ingest(self, table, prepared):
        names, rows = prepared
        if table.kind == "bar" and "symbol" in names:
            self.db.execute(f"CREATE TABLE {table.name} ({', '.join(names)}, PRIMARY KEY (symbol, time)) WITHOUT ROWID")
        elif table.kind == "bar" or table.name == "quotes":
            self.db.execute(f"CREATE TABLE {table.name} (time INTEGER PRIMARY KEY, {', '.join(names[1:])})")
        else:
            self.db.execute(f"CREATE TABLE {table.name} ({', '.join(names)})")
        self.db.execute("BEGIN")
        places = ", ".join("?" * len(names))
        self.db.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)
        self.db.execute("COMMIT")

    def settle(self):
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.db.execute("ANALYZE")

    def ask(self, sql, *values):
        found = self.db.execute(sql, values)
        return [column[0] for column in found.description], found.fetchall()

    def range(self, table, start, end):
        return self.ask(f"SELECT * FROM {table} WHERE time BETWEEN ? AND ? ORDER BY time", start, end)

    def last(self, table, count):
        return self.ask(f"SELECT * FROM (SELECT * FROM {table} ORDER BY time DESC LIMIT ?) ORDER BY time", count)

    def last_of_all(self, table):
        # A column beside max() comes from the row of the maximum, says SQLite's documentation.
        return self.ask(f"SELECT symbol, max(time) AS time, Open, High, Low, Close, Volume FROM {table} GROUP BY symbol")

    def column(self, table, column, start, end):
        return self.ask(f"SELECT symbol, time, {column} FROM {table} WHERE time BETWEEN ? AND ?", start, end)

    def aggregate(self, table, nanos):
        return self.ask(
            f"SELECT start, o.Open, w.High, w.Low, c.Close, w.Volume FROM (SELECT time - time % {nanos} AS start,"
            " min(time) AS first, max(time) AS last, max(High) AS High, min(Low) AS Low, sum(Volume) AS Volume"
            f" FROM {table} GROUP BY start) w JOIN {table} o ON o.time = w.first JOIN {table} c ON c.time = w.last ORDER BY start"
        )

    def asof(self, trades, quotes):
        return self.ask(
            f"SELECT t.time, t.Price, t.Size, t.Seq, q.Bid, q.Ask FROM {trades} t LEFT JOIN {quotes} q"
            f" ON q.time = (SELECT max(time) FROM {quotes} WHERE time <= t.time)"
        )

    def append(self, row):
        self.db.execute("INSERT INTO appended VALUES (?, ?, ?, ?, ?, ?)", row)

    def append_many(self, writers, rows):
        def write(rows):
            own = self.connect()
            for row in rows:
                own.execute("INSERT INTO appended VALUES (?, ?, ?, ?, ?, ?)", row)
            own.close()

        threads = [threading.Thread(target=write, args=(rows[i::writers],)) for i in range(writers)]
        [t.start() for t in threads]
        [t.join() for t in threads]
