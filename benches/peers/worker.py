"""Answers the driver's requests (benches/driver) with another store: `python worker.py duckdb`.

One JSON object a line on stdin, one on stdout. Times are taken around the store's call alone.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

import data
import systems
from systems.base import arrays

MIN, MAX = np.iinfo(np.int64).min, np.iinfo(np.int64).max
NANOS = {"5Min": 5 * data.MINUTE, "15Min": 15 * data.MINUTE, "1H": 60 * data.MINUTE}


def checksum(columns):
    """The driver's sum: times as i64, all else as f64, weighed by column and row."""
    total = np.uint64(0)
    with np.errstate(over="ignore"):
        for index, values in enumerate(columns):
            bits = values if values.dtype == np.int64 and index == 0 else values.astype(np.float64)
            bits = np.ascontiguousarray(bits).view(np.uint64)
            weights = 2 * np.arange(len(bits), dtype=np.uint64) + np.uint64(1)
            total += (bits * weights).sum(dtype=np.uint64) * np.uint64(index + 1)
    return f"{int(total):016x}"


def found(result):
    """Rows and checksum of an answer: by symbol and time, or as the trades came."""
    columns = arrays(result)
    names = list(columns)
    lower = {name.lower(): name for name in names}
    times = columns.pop(lower.get("time") or lower["start"])
    times = times.astype("datetime64[ns]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.int64)
    sequence = columns.get("Seq")
    symbol = columns.pop("symbol", None)
    if sequence is not None:
        order = np.argsort(sequence)
    elif symbol is not None:
        order = np.lexsort((times, symbol))
    else:
        order = slice(None)
    # Seq is told before the quote's columns by some, after by others.
    wanted = [n for n in ["Open", "High", "Low", "Close", "Volume", "Price", "Size", "Seq", "Bid", "Ask"] if n in columns]
    ordered = [times[order], *[np.asarray(columns[name])[order] for name in wanted]]
    return {"rows": len(times), "sum": checksum(ordered)}


def timed(request, call):
    end = time.perf_counter() + request.get("budget_ms", 1000) / 1000
    times = []
    while True:
        began = time.perf_counter_ns()
        result = call()
        times.append(time.perf_counter_ns() - began)
        if len(times) >= request.get("repeat", 1) or time.perf_counter() >= end:
            break
    answer = {"ns": int(statistics.median(times)), "min_ns": min(times), "repeats": len(times)}
    return answer, result


def read_table(request):
    with open(request["file"], "rb") as file:
        times = np.fromfile(file, "<i8", request["rows"])
        types = {"f64": "<f8", "i32": "<i4"}
        columns = {name: np.fromfile(file, types[ty], request["rows"]) for name, ty in request["columns"]}
    symbols = [str(i) for i in range(request.get("count", 1))]
    return data.Table(request["table"], request["kind"], symbols, times, columns)


class Worker:
    def __init__(self, name):
        self.system = systems.load(name)
        self.appended = 0

    def run(self, request):
        op = request["op"]
        return getattr(self, op)(request)

    def version(self, request):
        return {"title": self.system.title, "version": self.system.version(), "notes": self.system.notes}

    def open(self, request):
        return timed({}, lambda: self.system.open(request["dir"]))[0]

    def close(self, request):
        return timed({}, self.system.close)[0]

    def reopen(self, request):
        if self.system.append is None:
            return {"missing": "a file is opened with each question"}
        self.system.close()
        return timed({}, lambda: self.system.open(self.system.directory))[0]

    def settle(self, request):
        self.system.settle()
        return {}

    def ingest(self, request):
        table = read_table(request)
        prepared = self.system.prepare(table)
        answer, _ = timed({}, lambda: self.system.ingest(table, prepared))
        return {**answer, "rows": table.rows}

    def range(self, request):
        start, end = request.get("from", MIN), request.get("to", MAX)
        return self.ask(request, lambda: self.system.range(request["table"], start, end))

    def last(self, request):
        return self.ask(request, lambda: self.system.last(request["table"], request["count"]))

    def last_of_all(self, request):
        return self.ask(request, lambda: self.system.last_of_all(request["table"]))

    def column(self, request):
        span = (request.get("from", MIN), request.get("to", MAX))
        return self.ask(request, lambda: self.system.column(request["table"], request["column"], *span))

    def aggregate(self, request):
        return self.ask(request, lambda: self.system.aggregate(request["table"], NANOS[request["timeframe"]]))

    def asof(self, request):
        return self.ask(request, lambda: self.system.asof("tape", "quotes"))

    def asof_of(self, request):
        return self.ask(request, lambda: self.system.asof("trades", "quotes"))

    def sql(self, request):
        return self.ask(request, lambda: self.system.sql(request["text"]))

    def ask(self, request, call):
        answer, result = timed(request, call)
        return {**answer, **found(result)}

    def append(self, request):
        rows, writers = request["rows"], request.get("writers", 1)
        batch = [self.bar(i) for i in range(rows)]
        if writers > 1:
            if self.system.append_many is None:
                return {"missing": "one writer at a time"}
            answer, _ = timed({}, lambda: self.system.append_many(writers, batch))
            total = answer["ns"]
        else:
            if self.system.append is None:
                return {"missing": "rows cannot be added to a file"}
            times = []
            began = time.perf_counter_ns()
            for row in batch:
                start = time.perf_counter_ns()
                self.system.append(row)
                times.append(time.perf_counter_ns() - start)
            total = time.perf_counter_ns() - began
            answer = {"ns": int(statistics.median(times)), "min_ns": min(times), "repeats": rows}
        return {**answer, "rows": rows, "total_ns": total, "rows_per_s": rows * 1e9 / total}

    def bar(self, index):
        self.appended += 1
        price = 100 + index * 0.01
        return [self.appended * data.MINUTE, price, price, price, price, price]


def main():
    try:
        worker = Worker(sys.argv[1])
    except ImportError as error:
        print(json.dumps({"ok": False, "missing": str(error)}), flush=True)
        return
    # The stores' own chatter must not land between the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ok": True, **worker.version({})}), file=out, flush=True)
    for line in sys.stdin:
        try:
            answer = {"ok": True, **worker.run(json.loads(line))}
        except Exception as error:  # whatever a store throws is its answer
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=out, flush=True)


main()
