"""What programs do with pymarketstore, written once for any module with its names.

Each scenario gets the module, a client and a symbol of its own, and returns what it saw as plain
values. The ideas of pymarketstore's own tests are among them: how parameters become requests, how
replies become arrays and frames, nanoseconds in both directions, ticks in any order, columns,
listings, deleting, what raises what.
"""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pandas as pd

from conftest import BARS, real_bars

DAY = 1_577_923_200  # 2020-01-02


def rows(dataset):
    """A data set without its bytes' padding: names, types and values."""
    array = dataset.array
    return [(name, array.dtype[name].str, array[name].tolist()) for name in array.dtype.names]


def frame(dataset):
    df = dataset.df()
    # The resolution of the index is that of pandas, and the same for both.
    return str(df.index.dtype), df.index.name, df.index.astype("int64").tolist(), df.to_dict("list"), \
        [str(kind) for kind in df.dtypes]  # fmt: skip


def entry(reply):
    """Errors in a reply of the RPC or of gRPC."""
    responses = reply["responses"] if isinstance(reply, dict) else list(reply.responses)
    if responses is None:
        return None
    return [one["error"] if isinstance(one, dict) else one.error for one in responses]


def raised(call):
    """The type and text of what a call raises."""
    try:
        return repr(call())
    except Exception as error:
        text = error.details() if hasattr(error, "details") else str(error)
        return [kind.__name__ for kind in type(error).__mro__ if kind.__module__ != "builtins"], text


def bars(mod, client, symbol):
    data = real_bars("AAPL", 600)
    key = f"{symbol}/1Min/OHLCV"
    out = [entry(client.write(data, key))]
    start, end = int(data["Epoch"][100]), int(data["Epoch"][120])
    for more in (
        {},
        {"start": start, "end": end},
        {"start": pd.Timestamp(start, unit="s"), "end": pd.Timestamp(end, unit="s", tz="UTC")},
        {"start": str(pd.Timestamp(start, unit="s")), "limit": 3},
        {"start": pd.Timestamp(start, unit="s", tz="UTC").tz_convert("Asia/Tokyo"), "limit": 2},
        {"limit": 5},
        {"limit": 5, "limit_from_start": True},
        {"columns": ["Close", "Open"], "limit": 2},
        {"columns": ["Nope"], "limit": 2},
        {"start": end + 10**9},
        {"start": end, "end": start},
        {"end": np.int64(start), "limit": 1},
    ):
        reply = client.query(mod.Params(symbol, "1Min", "OHLCV", **more))
        out += [rows(reply.first()), frame(reply.first()), reply.keys(), reply.timezone]
    return out


def ticks(mod, client, symbol):
    dtype = [("Epoch", "i8"), ("Nanoseconds", "i4"), ("Price", "f8"), ("Size", "u4")]
    data = np.array(
        [
            (DAY + 1, 7, 3.0, 3),
            (DAY, 999_999_999, 2.0, 2),
            (DAY, 0, 1.0, 1),
            (DAY + 1, 7, 4.0, 4),
        ],
        dtype=dtype,
    )
    key = f"{symbol}/1Sec/TRADE"
    out = [entry(client.write(data, key, isvariablelength=True))]
    out.append(rows(client.query(mod.Params(symbol, "1Sec", "TRADE")).first()))
    for start, end in ((1, 7), (0, 500_000_000), (500_000_000, 8)):
        params = mod.Params(
            symbol, "1Sec", "TRADE",
            start=pd.Timestamp(DAY * 10**9 + start), end=pd.Timestamp((DAY + 1) * 10**9 + end),
        )  # fmt: skip
        out.append(rows(client.query(params).first()))
    out.append(frame(client.query(mod.Params(symbol, "1Sec", "TRADE")).first()))
    return out


def types(mod, client, symbol):
    kinds = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "U16"]
    dtype = [("Epoch", "i8"), *((f"C{kind}", kind) for kind in kinds)]
    data = np.zeros(3, dtype=dtype)
    data["Epoch"] = DAY + np.arange(3) * 60
    for kind in kinds:
        data[f"C{kind}"] = ["a", "bc", "\u20acuro"] if kind == "U16" else [0, 1, 100]
    out = [entry(client.write(data, f"{symbol}/1Min/ALL"))]
    out.append(rows(client.query(mod.Params(symbol, "1Min", "ALL")).first()))
    # What cannot be stored.
    for kind, value in (("S4", b"x"), ("f2", 1.0), ("b1", True)):
        bad = np.array([(DAY, value)], dtype=[("Epoch", "i8"), ("V", kind)])
        out.append(raised(lambda: entry(client.write(bad, f"{symbol}/1Min/BAD"))))
    # A record array of pandas, and a view with strides.
    df = pd.DataFrame({"Open": [1.5, 2.5]}, index=pd.Index([DAY, DAY + 60], name="Epoch"))
    out.append(entry(client.write(df.to_records(), f"{symbol}/1Min/REC")))
    out.append(entry(client.write(data[::2][["Epoch", "Cf4"]], f"{symbol}/1Min/STRIDE")))
    out.append(rows(client.query(mod.Params(symbol, "1Min", "REC")).first()))
    out.append(rows(client.query(mod.Params(symbol, "1Min", "STRIDE")).first()))
    return out


def many(mod, client, symbol):
    small = np.array([(DAY, 1.0), (DAY + 60, 2.0)], dtype=[("Epoch", "i8"), ("Open", "f4")])
    for letter in "ab":
        client.write(small, f"{symbol}{letter}/1Min/TICK")
    client.write(small, f"{symbol}a/5Min/TICK")
    first = mod.Params([f"{symbol}a", f"{symbol}b", "NOBODY"], "1Min", "TICK")
    second = mod.Param(f"{symbol}a", "5Min", "TICK", limit=1)
    out = []
    for params in (first, [first, second], (second, first)):
        reply = client.query(params)
        out.append({key: rows(dataset) for key, dataset in reply.all().items()})
        out += [sorted(reply.keys()), sorted(reply.symbols()), sorted(reply.timeframes())]
        out.append(sorted(reply.by_symbols()))
        out += [len(reply.results), [sorted(one.keys()) for one in reply.results]]
    dataset = client.query(second).first()
    out += [dataset.symbol, dataset.timeframe, dataset.attribute_group, dataset.key, repr(dataset)]
    out += [repr(client.query(second)), repr(client.query(second).results[0])]
    return out


def parameters(mod, client, symbol):
    params = mod.Params("TSLA", "1Min", "OHLCV", 1500000000, "2017-07-14T03:00", 7, True)
    out = [repr(params), params.tbk, str(params.start), str(params.end), params.key_category]
    out += [params.set("end", 1500000001) is params, str(params.end), params.set("limit", 3).limit]
    out += [params.set("key_category", "Symbol/Timeframe/AttributeGroup").key_category]
    out.append(raised(lambda: params.set("nope", 1)))
    out.append(raised(lambda: mod.Params("A", "1Min", "X", start="no time")))
    precise = mod.Params(
        ["A", "B"], "1D", "X", pd.Timestamp(DAY * 10**9 + 5), columns=["C"], functions=["f(C)"]
    )
    for one in (params, precise, [params, precise]):
        built = client._build_query(one)
        out.append(built if isinstance(built, dict) else _fields(built))
    return out


def _fields(message):
    """Fields of a message of protobuf that are set, whatever class it is of."""
    names = ("destination", "key_category", "epoch_start", "epoch_start_nanos", "epoch_end", "epoch_end_nanos",
             "limit_record_count", "limit_from_start", "columns", "functions")  # fmt: skip
    return [[getattr(one, name) if not hasattr(getattr(one, name), "append") else list(getattr(one, name))
             for name in names] for one in message.requests]  # fmt: skip


def administration(mod, client, symbol):
    out = []
    bar, tick = f"{symbol}/1Min/OHLCV", f"{symbol}/1Sec/TICK"
    out.append(entry(client.create(bar, BARS)))
    out.append(entry(client.create(tick, [("Epoch", "<i8"), ("Bid", "f4")], isvariablelength=True)))
    out.append(bool(entry(client.create(bar, BARS))[0]))
    for key in (bar, tick):
        out.append(rows(client.query(mod.Params(*key.split("/"))).first()))
        out.append(frame(client.query(mod.Params(*key.split("/"))).first()))
    out.append(symbol in client.list_symbols())
    keys = client.list_symbols(mod.ListSymbolsFormat.TBK)
    out.append(sorted(key for key in keys if key.startswith(f"{symbol}/")))
    out += [entry(client.destroy(bar)), entry(client.destroy(tick)), entry(client.destroy(bar))]
    out.append(symbol in client.list_symbols())
    out.append(isinstance(client.server_version(), str))
    return out


def refusals(mod, client, symbol):
    small = np.array([(DAY, 1.0)], dtype=[("Epoch", "i8"), ("Open", "f4")])
    key = f"{symbol}/1Min/TICK"
    client.write(small, key)
    out = [raised(lambda: client.query(mod.Params("NOBODY", "1Min", "TICK")))]
    out.append(raised(lambda: client.query(mod.Params(symbol, "what", "TICK"))))
    out.append(raised(lambda: client.query(mod.Params(symbol, "1Min", "TICK", limit=-1))))
    out.append(raised(lambda: client.query(mod.Params(symbol, "1Min", "TICK", functions=["nope(Open)"]))))
    out.append(raised(lambda: client.query([])))
    wrong = np.array([(DAY, 1.0)], dtype=[("Epoch", "i8"), ("Close", "f4")])
    out.append(entry(client.write(wrong, key)))
    out.append(entry(client.write(small, f"{symbol}/what/TICK")))
    out.append(entry(client.write(small, "no key")))
    out.append(entry(client.write(small[:0], f"{symbol}/1Min/EMPTY")))
    out.append(entry(client.create("no key", BARS)))
    out.append(entry(client.destroy("NOBODY/1Min/TICK")))
    # The next good request is answered.
    out.append(rows(client.query(mod.Params(symbol, "1Min", "TICK")).first()))
    return out


def statements(mod, client, symbol):
    key = f"{symbol}/1Min/OHLCV"
    data = real_bars("AAPL", 300)
    out = [entry(client.write(data, key))]
    time = int(data["Epoch"][250])
    for text in (
        f"SELECT * FROM `{key}` LIMIT 5;",
        f"SELECT Epoch, Close AS c FROM `{key}` WHERE Epoch >= {time} AND Close > 1;",
        f"SELECT * FROM `{key}` WHERE Close < 0;",
        f"SELECT candlecandler('5Min', Open, High, Low, Close, Sum::Volume) FROM `{key}` LIMIT 9;",
    ):
        reply = client.sql(text)
        out += [rows(reply.first()), frame(reply.first()), reply.keys(), reply.timezone]
    # Beside the number is the time of the answer.
    out.append(client.sql(f"SELECT count(*) FROM `{key}`;").first().array["Count"].tolist())
    # Texts of more than 16 letters are whole.
    plan = client.sql(f"EXPLAIN SELECT * FROM `{key}`;").first().array["plan"]
    out.append(any(key in text for text in plan.tolist()))
    out.append(raised(lambda: client.sql(f"SELECT Nope FROM `{key}`;")))
    out.append(raised(lambda: client.sql("SELECT * FROM `NOBODY/1Min/OHLCV`;")))
    out.append(raised(lambda: client.sql("garbage;")))
    return out


#: Scenarios for both transports.
ALL = [bars, ticks, types, many, parameters, administration, refusals, statements]


def stream(mod, address, client, symbol):
    """Handlers by expression, until one raises: the original has no other way out."""
    seen, arrived = [], threading.Event()
    conn = mod.StreamConn(f"ws://{address}/ws")

    class Enough(Exception):
        pass

    @conn.on(f"^{symbol}/1Min")
    def on_bar(connection, message):
        seen.append((connection is conn, message["key"], sorted(message["data"].items())))

    conn.register(re.compile("never"), lambda *_: seen.append("never"))
    conn.register("gone", on_bar)
    conn.deregister("gone")

    def last(connection, message):
        arrived.set()
        raise Enough(message["key"])

    conn.register(symbol, last)
    ended = []

    def run():
        try:
            conn.run([f"{symbol}/1Min/OHLCV", f"{symbol}/1Sec/*"])
        except Enough as error:
            ended.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    row = np.array([(DAY, 1.5, 2.5, 0.5, 2.0, 7)], dtype=BARS)
    until = time.monotonic() + 30
    # It does not say when it has subscribed: write until the message comes.
    while not arrived.wait(0.05) and time.monotonic() < until:
        client.write(row, f"{symbol}/1Min/OHLCV")
    thread.join(30)
    return seen, ended, conn.endpoint
