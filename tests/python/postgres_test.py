"""Drives a running mkts server with psycopg, over the PostgreSQL wire.

usage: postgres_test.py HOST:PORT HTTP_HOST:PORT

Everything that is written comes back value for value; the exit code is 0 only then.
"""

import datetime as dt
import json
import sys
import urllib.request

import psycopg

HOST, PORT = sys.argv[1].rsplit(":", 1)
HTTP = sys.argv[2]
UTC = dt.timezone.utc
START = dt.datetime(2024, 1, 31, 9, 30, tzinfo=UTC)
BARS = '"AAPL/1Min/OHLCV"'


def connect(**options):
    return psycopg.connect(host=HOST, port=PORT, user="anyone", dbname="mkts", sslmode="prefer", **options)


def write():
    rows = ["Epoch,Close,Volume,Note"]
    rows += [f"{(START + dt.timedelta(minutes=i)).isoformat()},{100 + i}.5,{i},n{i}" for i in range(100)]
    request = urllib.request.Request(
        f"http://{HTTP}/write/AAPL/1Min/OHLCV",
        data="\n".join(rows).encode(),
        headers={"Content-Type": "text/csv"},
    )
    assert json.load(urllib.request.urlopen(request))["rows"] == 100


def statements():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(f'SELECT "Epoch", "Close", "Volume", "Note" FROM {BARS} ORDER BY "Epoch" LIMIT 2')
        rows = cursor.fetchall()
        assert rows[0] == (START, 100.5, 0, "n0"), rows
        assert [c.name for c in cursor.description] == ["Epoch", "Close", "Volume", "Note"]
        assert [c.type_display for c in cursor.description] == ["timestamptz", "float8", "int8", "text"]
        cursor.execute(f"SELECT count(*) FROM {BARS}; SELECT 2", prepare=False)
        assert cursor.fetchall() == [(100,)]
        assert cursor.nextset() and cursor.fetchall() == [(2,)]
        cursor.execute(f'SELECT "Close" FROM {BARS} WHERE "Volume" > 1000')
        assert cursor.fetchall() == []


def parameters():
    with connect() as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                text = f'SELECT "Volume", "Close", "Epoch" FROM {BARS} WHERE "Epoch" >= %s AND "Volume" < %s'
                # From the sixth run on psycopg prepares it.
                for minute in range(8):
                    since = START + dt.timedelta(minutes=minute)
                    cursor.execute(text, (since, 10))
                    rows = cursor.fetchall()
                    assert rows == [(i, 100.5 + i, START + dt.timedelta(minutes=i)) for i in range(minute, 10)], rows
                cursor.execute(f'SELECT "Volume" FROM {BARS} WHERE "Note" = %s', ("n7",))
                assert cursor.fetchall() == [(7,)]


def errors():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        for text, code, position in (
            ("SELEC 1", "42601", None),
            (f"SELECT nothing FROM {BARS}", "42703", "8"),
            ('SELECT * FROM "NONE/1Min/OHLCV"', "42P01", None),
            ("INSERT INTO x VALUES (1)", None, None),
            ("COPY x FROM STDIN", "0A000", None),
        ):
            try:
                cursor.execute(text)
                raise AssertionError(f"not refused: {text}")
            except psycopg.Error as error:
                assert code is None or error.sqlstate == code, (text, error.sqlstate, str(error))
                assert position is None or error.diag.statement_position == position, error.diag.statement_position
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,), text
    with connect() as connection:
        # Within a transaction, too: after ROLLBACK it goes on.
        try:
            connection.execute("SELEC 1")
        except psycopg.errors.SyntaxError:
            connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def copy():
    with connect() as connection, connection.cursor() as cursor:
        with cursor.copy(f'COPY (SELECT "Volume", "Note" FROM {BARS} ORDER BY "Epoch") TO STDOUT') as rows:
            got = [row for row in rows.rows()]
        assert got == [(str(i), f"n{i}") for i in range(100)], got[:3]
        with cursor.copy(f'COPY (SELECT "Volume", "Close" FROM {BARS} ORDER BY "Epoch") TO STDOUT (FORMAT binary)') as rows:
            rows.set_types(["int8", "float8"])
            got = [row for row in rows.rows()]
        assert got == [(i, 100.5 + i) for i in range(100)], got[:3]


def session():
    with connect(autocommit=True) as connection:
        assert connection.info.server_version == 160006, connection.info.server_version
        assert connection.execute("SHOW server_version").fetchone()[0] == "16.6"
        connection.execute("SET TIME ZONE 'America/New_York'")
        assert connection.execute("SHOW timezone").fetchone() == ("America/New_York",)
        assert connection.info.parameter_status("TimeZone") == "America/New_York"
        connection.execute("RESET timezone")
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SELECT current_user, session_user").fetchone() == ("anyone", "anyone")
        assert connection.execute("SELECT current_schema()").fetchone() == ("public",)
        assert "mkts" in connection.execute("SELECT version()").fetchone()[0]


def cursors():
    with connect() as connection:
        for binary in (False, True):
            with connection.cursor(f"named {binary}", binary=binary) as cursor:
                cursor.itersize = 7
                cursor.execute(f'SELECT "Volume", "Note" FROM {BARS} WHERE "Volume" >= %s ORDER BY "Epoch"', (10,))
                assert [c.name for c in cursor.description] == ["Volume", "Note"]
                assert cursor.fetchmany(3) == [(10, "n10"), (11, "n11"), (12, "n12")]
                cursor.scroll(5)
                assert cursor.fetchone() == (18, "n18")
                assert [row[0] for row in cursor] == list(range(19, 100))
                assert cursor.fetchone() is None
        connection.execute(f'DECLARE c NO SCROLL CURSOR FOR SELECT "Volume" FROM {BARS} ORDER BY "Epoch"')
        assert connection.execute("FETCH 2 FROM c").fetchall() == [(0,), (1,)]
        assert connection.execute("MOVE FORWARD 3 FROM c").statusmessage == "MOVE 3"
        assert connection.execute("FETCH ABSOLUTE 10 FROM c").fetchall() == [(9,)]
        assert len(connection.execute("FETCH ALL FROM c").fetchall()) == 90
        assert connection.execute("FETCH NEXT FROM c").fetchall() == []
        connection.execute("CLOSE c")
        connection.commit()
    with connect(autocommit=True) as connection:
        for text, code in (
            ("FETCH 1 FROM nothing", "34000"),
            ("CLOSE nothing", "34000"),
            ("FETCH PRIOR FROM c", "42601"),
            ("DECLARE c CURSOR FOR SELECT nothing", "42703"),
            ("DECLARE c SCROLL CURSOR FOR SELECT 1", "42601"),
        ):
            try:
                connection.execute(text)
                raise AssertionError(f"not refused: {text}")
            except psycopg.Error as error:
                assert error.sqlstate == code, (text, error.sqlstate, str(error))
        # One that is held outlives its transaction, others do not; there are only so many.
        with connection.transaction():
            connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
            connection.execute("DECLARE gone CURSOR FOR SELECT 1")
        assert connection.execute("FETCH 1 FROM held").fetchall() == [(1,)]
        try:
            connection.execute("FETCH 1 FROM gone")
            raise AssertionError("a cursor outlived its transaction")
        except psycopg.Error as error:
            assert error.sqlstate == "34000", error.sqlstate
        refused = None
        for number in range(40):
            try:
                connection.execute(f"DECLARE c{number} CURSOR FOR SELECT {number}")
            except psycopg.Error as error:
                refused = error.sqlstate
                break
        assert refused == "53400", refused
        connection.execute("CLOSE ALL")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def arrays():
    with connect() as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                row = cursor.execute("SELECT make_array(1, 2), make_array('a', 'b c'), make_array(1.5)").fetchone()
                assert row == ([1, 2], ["a", "b c"], [1.5]), row
                names = cursor.execute("SELECT typname FROM pg_type WHERE oid = ANY(%b) ORDER BY 1", ([20, 25],)).fetchall()
                assert names == [("int8",), ("text",)], names


def cancel():
    with connect(autocommit=True) as connection:
        connection.cancel_safe()
        assert connection.execute("SELECT 1").fetchone() == (1,)


for part in (write, statements, parameters, errors, copy, session, cursors, arrays, cancel):
    part()
    print(f"ok {part.__name__}", flush=True)
print("all parts passed", flush=True)
