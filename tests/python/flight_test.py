"""Drives a running mkts server with ADBC's Flight SQL driver, and DuckDB over the same results.

usage: flight_test.py HOST:PORT

Everything that is written comes back value for value; the exit code is 0 only then.
"""

import datetime as dt
import sys

import adbc_driver_flightsql.dbapi as flight
import adbc_driver_manager
import pyarrow as pa

URI = f"grpc://{sys.argv[1]}"
UTC = dt.timezone.utc
START = dt.datetime(2024, 1, 31, 9, 30, tzinfo=UTC)


def connect(**options):
    return flight.connect(URI, autocommit=True, **options)


def bars(count, start=START):
    times = pa.array([start + dt.timedelta(minutes=i) for i in range(count)], pa.timestamp("ns", "UTC"))
    closes = pa.array([100.0 + i for i in range(count)], pa.float64())
    volumes = pa.array(range(count), pa.int64())
    return pa.table({"Epoch": times, "Close": closes, "Volume": volumes})


def refused(wanted, run):
    try:
        run()
    except adbc_driver_manager.Error as error:
        assert wanted in str(error), (wanted, str(error))
        return error
    raise AssertionError(f"not refused: {wanted}")


def ingest():
    with connect() as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("AAPL/1Min/OHLCV", bars(5), mode="create") == 5
        refused("exists already", lambda: cursor.adbc_ingest("AAPL/1Min/OHLCV", bars(1), mode="create"))
        more = bars(3, START + dt.timedelta(minutes=5))
        assert cursor.adbc_ingest("AAPL/1Min/OHLCV", more, mode="append") == 3
        refused("no bucket", lambda: cursor.adbc_ingest("NEW/1Min/OHLCV", bars(1), mode="append"))
        refused("Epoch", lambda: cursor.adbc_ingest("N/1Min/X", pa.table({"a": [1]}), mode="create"))
        keyed = bars(2)
        for name, value in (("attribute_group", "OHLCV"), ("timeframe", "1Min"), ("symbol", "IBM")):
            keyed = keyed.add_column(0, name, pa.array([value] * 2))
        assert cursor.adbc_ingest("*", keyed, mode="create_append") == 2


def statements():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute('SELECT "Epoch", "Close", "Volume" FROM "AAPL/1Min/OHLCV" ORDER BY "Epoch"')
        table = cursor.fetch_arrow_table()
        assert table.column("Close").to_pylist() == [100.0 + i for i in range(5)] + [100.0, 101.0, 102.0], table
        assert table.schema.field("Epoch").type == pa.timestamp("ns", "UTC"), table.schema
        assert table.column("Epoch")[0].as_py() == START
        cursor.execute('SELECT count(*) AS n FROM "*/1Min/OHLCV" WHERE symbol = \'IBM\'')
        assert cursor.fetchall() == [(2,)]
        cursor.execute('SELECT "Close" FROM "AAPL/1Min/OHLCV" WHERE "Volume" > 1000')
        assert cursor.fetchall() == []
        refused("NONE", lambda: cursor.execute('SELECT * FROM "NONE/1Min/OHLCV"'))
        refused("SELEC", lambda: cursor.execute("SELEC 1"))
        cursor.execute("SELECT 1 + 1 AS two")
        assert cursor.fetchone() == (2,)


def prepared():
    with connect() as connection, connection.cursor() as cursor:
        text = 'SELECT "Volume" FROM "AAPL/1Min/OHLCV" WHERE "Epoch" = $1'
        for minute, wanted in ((2, 2), (4, 4), (5, 0)):
            cursor.execute(text, parameters=(START + dt.timedelta(minutes=minute),))
            assert cursor.fetchall() == [(wanted,)], minute
        cursor.execute(text, parameters=(dt.datetime(1999, 1, 1, tzinfo=UTC),))
        assert cursor.fetchall() == []
        # A statement that was prepared long ago sees what was written since.
        count = 'SELECT count(*) FROM "AAPL/1Min/OHLCV" WHERE "Volume" >= $1'
        cursor.execute(count, parameters=(0,))
        assert cursor.fetchall() == [(8,)]
        with connection.cursor() as other:
            other.adbc_ingest("AAPL/1Min/OHLCV", bars(1, START - dt.timedelta(minutes=1)), mode="append")
        cursor.execute(count, parameters=(0,))
        assert cursor.fetchall() == [(9,)]


def catalog():
    with connect() as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "mkts", info
        assert connection.adbc_get_table_types() == ["TABLE"]
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        assert [o["catalog_name"] for o in objects] == ["mkts"], objects
        (schema,) = objects[0]["catalog_db_schemas"]
        assert schema["db_schema_name"] == "public"
        names = [table["table_name"] for table in schema["db_schema_tables"]]
        assert names == ["AAPL/1Min/OHLCV", "IBM/1Min/OHLCV"], names
        schema = connection.adbc_get_table_schema("AAPL/1Min/OHLCV")
        assert schema.names == ["Epoch", "Close", "Volume"], schema
        assert schema.field("Epoch").type == pa.timestamp("ns", "UTC"), schema
        refused("NOT_FOUND", lambda: connection.adbc_get_table_schema("NONE/1Min/OHLCV"))
        objects = connection.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
        assert [s["db_schema_name"] for s in objects[0]["catalog_db_schemas"]] == ["public"], objects
        # With their columns, and only those that a pattern lets through.
        objects = connection.adbc_get_objects(depth="columns", table_name_filter="IBM%").read_all().to_pylist()
        (schema,) = objects[0]["catalog_db_schemas"]
        (table,) = schema["db_schema_tables"]
        assert table["table_name"] == "IBM/1Min/OHLCV", table
        columns = [(c["column_name"], c["ordinal_position"]) for c in table["table_columns"]]
        assert columns == [("Epoch", 1), ("Close", 2), ("Volume", 3)], columns
        assert info["vendor_version"], info


def updates():
    """INSERT and DELETE, as statements and as prepared ones; the number of rows comes back."""
    with connect() as connection, connection.cursor() as cursor:
        def changed(text):
            # A cursor of its own: `execute` takes a text that it had before as prepared.
            with connection.cursor() as own:
                own.adbc_statement.set_sql_query(text)
                return own.adbc_statement.execute_update()

        def left():
            cursor.execute('SELECT count(*) FROM "UP/1Min/X"')
            return cursor.fetchone()[0]

        with connection.cursor() as other:
            other.adbc_ingest("UP/1Min/X", bars(1), mode="create")
        copy = 'INSERT INTO "UP/1Min/X" SELECT "Epoch", "Close", "Volume" FROM "AAPL/1Min/OHLCV"'
        assert changed(copy + ' WHERE "Volume" > 0') == 6
        assert left() == 7
        values = 'INSERT INTO "UP/1Min/X" ("Epoch", "Close", "Volume") VALUES '
        assert changed(values + "('2024-02-01 10:00:00', 1.5, 7), ('2024-02-01 10:01:00', 2.5, 8)") == 2
        assert changed('DELETE FROM "UP/1Min/X" WHERE "Epoch" >= \'2024-02-01\'') == 2
        assert left() == 7
        # Prepared, a run for each row of parameters.
        delete = 'DELETE FROM "UP/1Min/X" WHERE "Epoch" = $1'
        with connection.cursor() as other:
            other.executemany(delete, [(START + dt.timedelta(minutes=i),) for i in range(3)])
        assert left() == 4
        with connection.cursor() as other:
            statement = other.adbc_statement
            statement.set_sql_query(copy + ' WHERE "Volume" = 2')
            statement.prepare()
            assert [statement.execute_update(), statement.execute_update()] == [2, 2]
        assert left() == 5
        refused("Nothing", lambda: changed('INSERT INTO "UP/1Min/X" SELECT "Nothing" FROM "AAPL/1Min/OHLCV"'))
        refused("UPDATE", lambda: changed('UPDATE "UP/1Min/X" SET "Close" = 1'))
        assert left() == 5
        # A query that gives rows, through the call for updates, changes nothing.
        changed('SELECT * FROM "UP/1Min/X"')
        assert left() == 5


def duckdb_reads():
    import duckdb

    with connect() as connection, connection.cursor() as cursor:
        cursor.execute('SELECT symbol, "Close" FROM "*/1Min/OHLCV"')
        rows = cursor.fetch_record_batch()
        database = duckdb.connect()
        found = database.sql("SELECT symbol, count(*), max(Close) FROM rows GROUP BY symbol ORDER BY symbol").fetchall()
        assert found == [("AAPL", 9, 104.0), ("IBM", 2, 101.0)], found


for part in (ingest, statements, prepared, catalog, duckdb_reads, updates):
    part()
    print(f"ok {part.__name__}", flush=True)
print("all parts passed", flush=True)
