"""Clients of PostgreSQL against a running mkts server: DuckDB, SQLAlchemy, pandas, asyncpg, and what
Grafana sends.

usage: postgres_clients.py HOST:PORT HTTP_HOST:PORT
"""

import asyncio
import datetime as dt
import os
import sys
import urllib.request

import asyncpg
import duckdb
import duckdb_ext
import pandas
import psycopg
import sqlalchemy

HOST, PORT = sys.argv[1].rsplit(":", 1)
HTTP = sys.argv[2]
UTC = dt.timezone.utc
START = dt.datetime(2020, 1, 2, 9, 30, tzinfo=UTC)
KEYS = ("GRAF/1Min/OHLCV", "DUCK/1Min/OHLCV")


def at(minute):
    return START + dt.timedelta(minutes=minute)


def write():
    rows = ["Epoch,Close,Volume"] + [f"{at(i).isoformat()},{100 + i}.5,{i * 10}" for i in range(100)]
    for key in KEYS:
        request = urllib.request.Request(
            f"http://{HTTP}/write/{key}", data="\n".join(rows).encode(), headers={"Content-Type": "text/csv"}
        )
        urllib.request.urlopen(request).read()


def the_extension_of_duckdb():
    base = list(duckdb_ext.__path__)[0]
    with duckdb.connect(config={"allow_unsigned_extensions": "true"}) as db:
        for folder, _, files in os.walk(base):
            for name in files:
                if name == "postgres_scanner.duckdb_extension":
                    db.execute(f"LOAD '{os.path.join(folder, name)}'")
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"ATTACH 'host={HOST} port={PORT} user=me password=x dbname=mkts' AS m (TYPE postgres, READ_ONLY)")
        tables = db.execute("SHOW ALL TABLES").fetchall()
        found = {row[2]: row[3:5] for row in tables if row[0] == "m"}
        assert set(KEYS) <= set(found), found
        wanted = (["Epoch", "Close", "Volume"], ["TIMESTAMP WITH TIME ZONE", "DOUBLE", "BIGINT"])
        assert tuple(found["DUCK/1Min/OHLCV"]) == wanted, found
        table = 'm."DUCK/1Min/OHLCV"'
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (100,)
        rows = db.execute(
            f"""SELECT epoch_ns("Epoch"), "Close" FROM {table}
            WHERE "Volume" > 900 AND "Epoch" < TIMESTAMPTZ '2020-01-02 11:03:00+00' ORDER BY "Epoch" """
        ).fetchall()
        assert rows == [(int(at(i).timestamp()) * 10**9, 100.5 + i) for i in (91, 92)], rows
        # Joined with a table of its own, and a statement handed through.
        db.execute("CREATE TABLE wanted AS SELECT * FROM (VALUES (10), (20)) AS t(v)")
        joined = db.execute(f'SELECT sum("Close") FROM {table} JOIN wanted ON "Volume" = v').fetchone()
        assert joined == (204.0,), joined
        passed = db.execute("""SELECT * FROM postgres_query('m', 'SELECT max("Volume") AS top FROM "DUCK/1Min/OHLCV"')""")
        assert passed.fetchall() == [(990,)]
        try:
            db.execute(f"INSERT INTO {table} VALUES (now(), 1, 1)")
            raise AssertionError("a write was not refused")
        except duckdb.Error as error:
            assert "read-only" in str(error), error


# What Grafana's data source sends, its macros expanded as it does.
SCHEMA = """
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )"""
TABLE = "'\"GRAF/1Min/OHLCV\"'"
HIDDEN = "('information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog')"
PERIOD = "\"Epoch\" BETWEEN '2020-01-02T09:30:00Z' AND '2020-01-02T09:39:59.999Z'"
GROUP = 'floor(extract(epoch from "Epoch")/300)*300'
BARS = '"GRAF/1Min/OHLCV"'
GRAFANA = (
    ("SELECT current_setting('server_version_num')::int/100 as version", [(1600,)]),
    ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", []),
    (
        f"SELECT schema_name AS \"name\" FROM information_schema.schemata WHERE schema_name NOT IN {HIDDEN}",
        [("public",)],
    ),
    (
        f"""SELECT CASE WHEN {SCHEMA} THEN quote_ident(table_name)
        ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
        FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN {HIDDEN}
        ORDER BY CASE WHEN {SCHEMA} THEN 0 ELSE 1 END, 1""",
        [('"DUCK/1Min/OHLCV"',), ('"GRAF/1Min/OHLCV"',)],
    ),
    (
        f"""SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
        WHERE CASE WHEN array_length(parse_ident({TABLE}),1) = 2
        THEN quote_ident(table_schema) = (parse_ident({TABLE}))[1] AND quote_ident(table_name) = (parse_ident({TABLE}))[2]
        ELSE quote_ident(table_name) = {TABLE} AND {SCHEMA} END""",
        [('"Epoch"', "timestamp with time zone"), ('"Close"', "double precision"), ('"Volume"', "bigint")],
    ),
    (f'SELECT "Epoch" AS "time", "Close" FROM {BARS} WHERE {PERIOD} ORDER BY 1 LIMIT 2', [(at(0), 100.5), (at(1), 101.5)]),
    (
        f'SELECT {GROUP} AS "time", avg("Close") AS "close" FROM {BARS} WHERE {PERIOD} GROUP BY 1 ORDER BY 1',
        [(1577957400.0, 102.5), (1577957700.0, 107.5)],
    ),
    (
        f'SELECT {GROUP} AS "time", \'x\' AS metric, sum("Volume") FROM {BARS} WHERE {PERIOD} GROUP BY 1, 2 ORDER BY {GROUP}',
        [(1577957400.0, "x", 100), (1577957700.0, "x", 350)],
    ),
    (
        f'SELECT extract(epoch from "Epoch") as "time", "Volume" FROM {BARS} WHERE {PERIOD} ORDER BY 1 DESC LIMIT 1',
        [(1577957940.0, 90)],
    ),
    (
        f'SELECT count(*) FROM {BARS} WHERE extract(epoch from "Epoch") >= 1577957400 AND extract(epoch from "Epoch") <= 1577957460',
        [(2,)],
    ),
)


def what_grafana_sends():
    with psycopg.connect(host=HOST, port=PORT, user="grafana", dbname="mkts", autocommit=True) as connection:
        connection.execute("")
        for text, wanted in GRAFANA:
            for binary in (False, True):
                with connection.cursor(binary=binary) as cursor:
                    # Prepared is the extended protocol, as the Go driver speaks it.
                    for prepare in (False, True):
                        rows = cursor.execute(text, prepare=prepare).fetchall()
                        plain = [tuple(float(v) if isinstance(v, float) else v for v in row) for row in rows]
                        assert plain == wanted, (text, plain)


def sqlalchemy_and_pandas():
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://me:x@{HOST}:{PORT}/mkts")
    inspector = sqlalchemy.inspect(engine)
    assert inspector.get_schema_names() == ["information_schema", "public"], inspector.get_schema_names()
    assert set(KEYS) <= set(inspector.get_table_names()), inspector.get_table_names()
    columns = inspector.get_columns("DUCK/1Min/OHLCV")
    assert [c["name"] for c in columns] == ["Epoch", "Close", "Volume"], columns
    assert [str(c["type"]) for c in columns] == ["TIMESTAMP", "DOUBLE PRECISION", "BIGINT"], columns
    assert columns[0]["type"].timezone
    assert inspector.has_table("DUCK/1Min/OHLCV") and not inspector.has_table("NONE/1Min/X")
    for asked in ("get_pk_constraint", "get_foreign_keys", "get_indexes", "get_unique_constraints"):
        getattr(inspector, asked)("DUCK/1Min/OHLCV")
    assert inspector.get_view_names() == []
    table = sqlalchemy.Table("DUCK/1Min/OHLCV", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        query = sqlalchemy.select(table.c.Close).where(table.c.Volume >= 980).order_by(table.c.Epoch)
        assert connection.execute(query).scalars().all() == [198.5, 199.5]
    frame = pandas.read_sql('SELECT * FROM "DUCK/1Min/OHLCV" ORDER BY "Epoch"', engine)
    assert frame.shape == (100, 3) and frame["Volume"].sum() == 49500, frame
    assert str(frame["Epoch"].dt.tz) == "UTC", frame.dtypes
    assert len(pandas.read_sql_table("DUCK/1Min/OHLCV", engine)) == 100
    engine.dispose()


async def of_asyncpg():
    connection = await asyncpg.connect(host=HOST, port=int(PORT), user="me", password="x", database="mkts")
    try:
        rows = await connection.fetch('SELECT * FROM "DUCK/1Min/OHLCV" WHERE "Volume" < $1 ORDER BY "Epoch"', 20)
        assert [tuple(row) for row in rows] == [(at(0), 100.5, 0), (at(1), 101.5, 10)], rows
        rows = await connection.fetch('SELECT "Close" FROM "DUCK/1Min/OHLCV" WHERE "Epoch" = $1', at(5))
        assert [tuple(row) for row in rows] == [(105.5,)], rows
        listed = await connection.fetchval("SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class c WHERE c.relkind = 'r'")
        assert set(KEYS) <= set(listed), listed
        found = await connection.fetch("SELECT typname FROM pg_type WHERE oid = $1", 701)
        assert [row[0] for row in found] == ["float8"], found
        async with connection.transaction():
            # A cursor of asyncpg is a portal that is executed with a number of rows.
            got = [row[0] async for row in connection.cursor('SELECT "Volume" FROM "DUCK/1Min/OHLCV" ORDER BY "Epoch"', prefetch=7)]
        assert got == [i * 10 for i in range(100)], got[:5]
        await connection.reset()
    finally:
        await connection.close()


def asyncpg_reads():
    asyncio.run(of_asyncpg())


for part in (write, the_extension_of_duckdb, what_grafana_sends, sqlalchemy_and_pandas, asyncpg_reads):
    part()
    print(f"ok {part.__name__}", flush=True)
print("all parts passed", flush=True)
