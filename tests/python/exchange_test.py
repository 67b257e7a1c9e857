"""Files that mkts writes, read by pyarrow; files that pyarrow writes, read by mkts.

usage: exchange_test.py MKTS DATA_DIRECTORY EMPTY_DIRECTORY

The exit code is 0 only if every value is the same on both sides.
"""

import datetime
import decimal
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pyarrow.parquet as pq

MKTS, DATA, WORK = sys.argv[1:4]
STORE = os.path.join(WORK, "store")
UTC_NS = pa.timestamp("ns", tz="UTC")


def mkts(*args, code=0):
    """Runs a command; returns what it printed."""
    done = subprocess.run([MKTS, *args], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{args}: {done.returncode}: {said}"
    return said


def path(name):
    return os.path.join(WORK, name)


def exported(key, name, *more):
    mkts("export", "--on", key, "--dir", STORE, "--out", path(name), *more)
    return path(name)


def our_files_are_read():
    """Parquet, IPC and CSV of one bucket of real ticks are one table for pyarrow."""
    key = "IBM/1Sec/TRADE"
    ticks = os.path.join(DATA, "IBM_Tick_TRADE.csv.gz")
    mkts("import", "csv", ticks, "--key", key, "--ticks", "--types", "Price=f4,Size=i4", "--dir", STORE)
    tables = []
    for codec in ("none", "snappy", "zstd"):
        tables.append(pq.read_table(exported(key, f"{codec}.parquet", "--compression", codec)))
    for codec in ("none", "zstd"):
        tables.append(feather.read_table(exported(key, f"{codec}.arrow", "--compression", codec)))
    first = tables[0]
    assert first.num_rows == 24293, first.num_rows
    assert first.schema.field("Epoch").type == UTC_NS, first.schema
    assert first.schema.field("Price").type == pa.float32(), first.schema
    assert first.schema.field("Exchange").type == pa.string(), first.schema
    assert first.schema.metadata[b"mkts.key"] == key.encode(), first.schema.metadata
    assert first.schema.metadata[b"mkts.kind"] == b"tick", first.schema.metadata
    for table in tables[1:]:
        assert table.equals(first)
    text = pyarrow.csv.read_csv(exported(key, "ticks.csv", "--time", "epoch_ns"))
    assert text["Epoch"].cast(pa.int64()).equals(first["Epoch"].cast(pa.int64()))
    for name in ("Price", "Size", "Exchange", "Cond"):
        theirs = first[name]
        assert text[name].cast(theirs.type).equals(theirs), name


def their_files_are_read():
    """What pyarrow writes by default and otherwise comes back value for value."""
    times = [datetime.datetime(2020, 1, 31, 14, 57 + minute) for minute in range(3)]
    table = pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us")),
            "Price": pa.array([1.5, None, 0.1], pa.float64()),
            "Volume": pa.array([1, 2, 2**53 + 1], pa.int64()),
            "Side": pa.array(["buy", "sell", "buy"]).dictionary_encode(),
            "Venue": pa.array(["N", "", "\u20ac"], pa.large_string()),
            "Live": pa.array([True, False, True]),
        }
    )
    wanted = [int(t.replace(tzinfo=datetime.timezone.utc).timestamp()) * 10**9 for t in times]
    files = []
    for codec in ("snappy", "gzip", "lz4", "zstd", "none"):
        files.append(("parquet", path(f"theirs-{codec}.parquet")))
        pq.write_table(table, files[-1][1], compression=codec)
    for codec in ("lz4", "zstd", "uncompressed"):
        files.append(("arrow", path(f"theirs-{codec}.feather")))
        feather.write_feather(table, files[-1][1], compression=codec)
    files.append(("arrow", path("theirs-stream.arrow")))
    with pa.ipc.new_stream(files[-1][1], table.schema) as stream:
        stream.write_table(table)
    for number, (format, file) in enumerate(files):
        key = f"T{number}/1Min/THEIRS"
        mkts("import", format, file, "--key", key, "--dir", STORE)
        back = pq.read_table(exported(key, f"back-{number}.parquet"))
        assert back["Epoch"].cast(pa.int64()).to_pylist() == wanted, file
        prices = back["Price"].to_pylist()
        assert prices[0] == 1.5 and prices[1] != prices[1] and prices[2] == 0.1, file
        assert back["Volume"].to_pylist() == [1, 2, 2**53 + 1], file
        assert back["Side"].to_pylist() == ["buy", "sell", "buy"], file
        assert back["Venue"].to_pylist() == ["N", "", "\u20ac"], file
        assert back["Live"].to_pylist() == [1, 0, 1], file


def what_does_not_fit_is_refused():
    """Brotli, nested values and decimals are named."""
    day = pa.array([datetime.date(2020, 1, 31)])
    for name, values, parts in (
        ("list", pa.array([[1, 2]]), ("column \"V\" is List", "--columns V:-")),
        ("decimal", pa.array([decimal.Decimal("1.23")]), ("column \"V\" is Decimal128", "--decimals float")),
    ):
        pq.write_table(pa.table({"date": day, "V": values}), path(f"{name}.parquet"))
        said = mkts("import", "parquet", path(f"{name}.parquet"), "--key", "X/1D/X", "--dir", STORE, code=1)
        assert all(part in said for part in parts), said
    more = ("--key", "X/1D/X", "--dir", STORE, "--decimals", "float")
    mkts("import", "parquet", path("decimal.parquet"), *more)
    assert pq.read_table(exported("X/1D/X", "x.parquet"))["V"].to_pylist() == [1.23]
    pq.write_table(pa.table({"date": day, "V": [1]}), path("brotli.parquet"), compression="brotli")
    said = mkts("import", "parquet", path("brotli.parquet"), "--key", "Y/1D/X", "--dir", STORE, code=1)
    assert "brotli" in said, said


our_files_are_read()
their_files_are_read()
what_does_not_fit_is_refused()
print("all parts passed")
