"""Drives a running mkts server with the unmodified pymarketstore client, over gRPC.

usage: grpc_test.py HOST:PORT DATA_DIRECTORY

Everything that is written comes back value for value; the exit code is 0 only then.
"""

import csv
import gzip
import os
import sys

import grpc
import numpy as np
import pymarketstore as pymkts
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ADDRESS, DATA = sys.argv[1], sys.argv[2]
CLIENT = pymkts.Client(endpoint=ADDRESS, grpc=True)
BARS = [("Epoch", "i8"), ("Open", "f4"), ("High", "f4"), ("Low", "f4"), ("Close", "f4"), ("Volume", "i4")]


def real_bars(symbol):
    """Bars of the bundled data as a record array."""
    path = os.path.join(DATA, f"{symbol}_1Min_OHLCV.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = [
            (int(r["Epoch"]), *(float(r[c]) for c in ("Open", "High", "Low", "Close")), int(float(r["Volume"])))
            for r in csv.DictReader(file)
        ]
    return np.array(rows, dtype=BARS)


def same(got, wanted, what):
    """Exact comparison of the bytes of two structured arrays, column by column."""
    assert list(got.dtype.names) == list(wanted.dtype.names), (what, got.dtype, wanted.dtype)
    assert len(got) == len(wanted), (what, len(got), len(wanted))
    for name in wanted.dtype.names:
        assert np.ascontiguousarray(got[name]).tobytes() == np.ascontiguousarray(wanted[name]).tobytes(), (what, name)


def query(*args, **kwargs):
    return CLIENT.query(pymkts.Params(*args, **kwargs))


def bars():
    tables = {symbol: real_bars(symbol) for symbol in ("AAPL", "IBM")}
    for symbol, rows in tables.items():
        reply = CLIENT.write(rows, f"{symbol}/1Min/OHLCV")
        assert not reply.responses, reply
        same(query(symbol, "1Min", "OHLCV").first().array, rows, symbol)
    aapl = tables["AAPL"]
    start, end = int(aapl["Epoch"][100]), int(aapl["Epoch"][199])
    same(query("AAPL", "1Min", "OHLCV", start=start, end=end).first().array, aapl[100:200], "range")
    same(query("AAPL", "1Min", "OHLCV", limit=7).first().array, aapl[-7:], "last rows")
    reply = query("AAPL", "1Min", "OHLCV", limit=7, limit_from_start=True)
    same(reply.first().array, aapl[:7], "first rows")
    reply = query("AAPL", "1Min", "OHLCV", columns=["Close", "Open"])
    same(reply.first().array, aapl[["Epoch", "Close", "Open"]], "columns")
    both = query(["AAPL", "IBM"], "1Min", "OHLCV").all()
    assert sorted(both) == ["AAPL/1Min/OHLCV", "IBM/1Min/OHLCV"], sorted(both)
    same(both["IBM/1Min/OHLCV"].array, tables["IBM"], "second of two")
    reply = CLIENT.write(aapl[["Epoch", "Open"]].astype([("Epoch", "i8"), ("Open", "f4")]), "AAPL/1Min/OHLCV")
    assert "unable to match data columns" in reply.responses[0].error, reply
    try:
        query("NOBODY", "1Min", "OHLCV")
        raise AssertionError("an unknown symbol must raise")
    except Exception as error:
        assert "no files returned from query parse" in str(error), error


def ticks():
    dtype = [("Epoch", "i8"), ("Nanoseconds", "i4"), ("Price", "f8"), ("Size", "u4")]
    rows = [(1381152600, 0, 184.5, 100), (1381152600, 999_999_999, 184.52, 1), (1381152601, 0, 184.49, 8)]
    reply = CLIENT.write(np.array(rows, dtype=dtype), "IBM/1Sec/TRADE", isvariablelength=True)
    assert not reply.responses, reply
    got = query("IBM", "1Sec", "TRADE").first().array
    assert [(int(r["Epoch"]), int(r["Nanoseconds"]), float(r["Price"]), int(r["Size"])) for r in got] == rows, got


def administration():
    assert sorted(CLIENT.list_symbols()) == ["AAPL", "IBM"]
    keys = CLIENT.list_symbols(pymkts.ListSymbolsFormat.TBK)
    assert {"AAPL/1Min/OHLCV", "IBM/1Min/OHLCV", "IBM/1Sec/TRADE"} == set(keys), keys
    reply = CLIENT.create("NEW/1Min/OHLCV", BARS[1:])
    assert reply.responses[0].error == "", reply
    assert "Can not overwrite file" in CLIENT.create("NEW/1Min/OHLCV", BARS[1:]).responses[0].error
    assert CLIENT.destroy("NEW/1Min/OHLCV").responses[0].error == ""
    assert CLIENT.destroy("NEW/1Min/OHLCV").responses[0].error != ""
    assert isinstance(CLIENT.server_version(), str)


def stream():
    """QueryStream, from nothing but the descriptors of the services."""
    files = descriptor_pb2.FileDescriptorSet()
    with open(os.path.join(DATA, "..", "clients", "proto", "src", "descriptors.bin"), "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    message = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    request = message("proto.MultiQueryRequest")()
    request.requests.add(destination="AAPL,IBM/1Min/OHLCV")
    with grpc.insecure_channel(ADDRESS) as channel:
        call = channel.unary_stream(
            "/mkts.v1.Bulk/QueryStream",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=message("mkts.v1.QueryPart").FromString,
        )
        rows = {}
        for part in call(request):
            data = part.result.data
            columns = [np.frombuffer(c, t) for c, t in zip(data.column_data, data.column_types)]
            for key, start in part.result.start_index.items():
                end = start + part.result.lengths[key]
                piece = np.rec.fromarrays([c[start:end] for c in columns], names=list(data.column_names))
                rows.setdefault(key.split(":")[0], []).append(piece)
    assert sorted(rows) == ["AAPL/1Min/OHLCV", "IBM/1Min/OHLCV"], sorted(rows)
    for symbol in ("AAPL", "IBM"):
        same(np.concatenate(rows[f"{symbol}/1Min/OHLCV"]), real_bars(symbol), f"{symbol} in parts")


for part in (bars, ticks, stream, administration):
    part()
    print(f"ok {part.__name__}", flush=True)
print("all parts passed", flush=True)
