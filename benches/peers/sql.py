"""SQL of mkts beside DuckDB on Parquet and Polars, in one run: `python sql.py --driver .../driver --dir ...`.

Each store has a process of its own, stopped while another is measured, and is asked in turn in every
round; a figure is the median of the rounds' medians, a ratio the median of the ratios of the rounds.
Times are taken inside the process around the call alone: from the text of the statement (or the lazy
frame) to all rows in memory. Answers carry a checksum over all values in their order; stores that do
not agree fail the run.
"""

import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

import numpy as np

import data
from process import Store

TYPES = {"float64": "f64", "int32": "i32"}

RESAMPLE = {
    "mkts": 'SELECT time_bucket(\'{step}\', Epoch) AS start, first("Open", Epoch) AS "Open", max("High") AS "High",'
    ' min("Low") AS "Low", last("Close", Epoch) AS "Close", sum("Volume") AS "Volume"'
    ' FROM "BARS/1Min/OHLCV" GROUP BY start ORDER BY start',
    "duckdb_parquet": "SELECT time_bucket(INTERVAL '{minutes} minutes', time) AS start, arg_min(Open, time) AS Open,"
    " max(High) AS High, min(Low) AS Low, arg_max(Close, time) AS Close, sum(Volume) AS Volume"
    " FROM {{bars}} GROUP BY start ORDER BY start",
}

ASOF = {
    "mkts": 'SELECT t."Epoch" AS time, t."Price", t."Size", q."Bid", q."Ask" FROM "TRADES/1Sec/TICK" t'
    ' ASOF LEFT JOIN "QUOTES/1Sec/TICK" q ON t."Epoch" >= q."Epoch"',
    "duckdb_parquet": "SELECT t.time, t.Price, t.Size, q.Bid, q.Ask FROM {trades} t"
    " ASOF LEFT JOIN {quotes} q ON t.time >= q.time ORDER BY t.time",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", type=pathlib.Path, required=True, help="benches' driver, built with --release")
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="where the stores are made")
    parser.add_argument("--bars", type=int, default=10_000_000)
    parser.add_argument("--trades", type=int, default=1_000_000)
    parser.add_argument("--quotes", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-ms", type=int, default=2000, help="for one question in one round")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser.parse_args()


def bars(rows):
    """Whole sessions of real minutes; prices are cents."""
    table = data.long_bars("bars", (rows + data.SESSION - 1) // data.SESSION * data.SESSION)
    return data.first_rows(table, "bars", rows)


def ticks(name, rows, seed, columns):
    """Random walks of cents at random times of which no two are equal, so that any join agrees."""
    rng = np.random.default_rng(seed)
    span = 6 * 3600 * data.SECOND
    times = np.unique(rng.integers(0, span, rows + rows // 50)) + 1577975400 * data.SECOND
    times = np.sort(rng.choice(times, rows, replace=False))
    cents = 10_000 + np.cumsum(rng.integers(-2, 3, rows))
    made = {}
    for at, column in enumerate(columns):
        is_size = column.endswith("Size")
        made[column] = rng.integers(1, 500, rows).astype(np.int32) if is_size else (cents + at) / 100
    return data.Table(name, "tick", [name.upper()], times, made)


class Run:
    def __init__(self, args):
        self.work = args.dir / "sql"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.args = args
        log = open(self.work / "stderr.log", "w")
        workers = [Store.of_worker(name, log) for name in ["duckdb_parquet", "polars"]]
        self.stores = [Store.of_driver(args.driver, log), *workers]
        for store in self.stores:
            if store.missing:
                sys.exit(f"sql.py: {store.name}: {store.missing}")
            store.pause()

    @contextlib.contextmanager
    def only(self, store):
        store.resume()
        try:
            yield store
        finally:
            store.pause()

    def ask(self, store, op, **fields):
        with self.only(store):
            answer = store.ask(op, timeout=600, **fields)
        if not answer.get("ok"):
            sys.exit(f"sql.py: {store.name}: {op}: {answer.get('error')}")
        return answer

    def load(self, table, key):
        path = table.write(self.work)
        columns = [[name, TYPES[str(values.dtype)]] for name, values in table.columns.items()]
        named = {"table": table.name, "kind": table.kind, "file": str(path), "rows": table.rows, "columns": columns}
        for store in self.stores:
            self.ask(store, "ingest", key=key, **named)
        path.unlink()

    def question(self, store, workload):
        """What a store is asked: statements, or what Polars does for them."""
        if workload == "asof":
            return ("sql", {"text": ASOF[store.name]}) if store.name in ASOF else ("asof_of", {})
        minutes = {"1H": 60, "5Min": 5}[workload.removeprefix("resample_")]
        step = workload.removeprefix("resample_")
        if store.name in RESAMPLE:
            return "sql", {"text": RESAMPLE[store.name].format(step=step, minutes=minutes)}
        return "aggregate", {"table": "bars", "timeframe": step}

    def measure(self, workload):
        figures = {store.name: [] for store in self.stores}
        sums = {}
        for number in range(self.args.rounds + 1):
            turn = number % len(self.stores)
            for store in self.stores[turn:] + self.stores[:turn]:
                op, fields = self.question(store, workload)
                answer = self.ask(store, op, repeat=1000, budget_ms=self.args.budget_ms, **fields)
                sums[store.name] = (answer["rows"], answer["sum"])
                # The first round fills caches.
                if number > 0:
                    figures[store.name].append(answer["ns"])
        if len(set(sums.values())) != 1:
            sys.exit(f"sql.py: {workload}: answers differ: {sums}")
        ours = figures["mkts"]
        ratios = {name: statistics.median(t / o for t, o in zip(times, ours)) for name, times in figures.items()}
        return {
            "rows": next(iter(sums.values()))[0],
            "ms": {name: statistics.median(times) / 1e6 for name, times in figures.items()},
            "times_mkts": ratios,
        }


def git_version():
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    return found.stdout.strip() or "unknown"


def main():
    args = arguments()
    args.dir, args.driver = args.dir.resolve(), args.driver.resolve()
    run = Run(args)
    for store in run.stores:
        run.ask(store, "open", dir=str(run.work / store.name))
    run.load(bars(args.bars), "BARS/1Min/OHLCV")
    run.load(ticks("trades", args.trades, 5, ["Price", "Size"]), "TRADES/1Sec/TICK")
    run.load(ticks("quotes", args.quotes, 6, ["Bid", "Ask", "BidSize", "AskSize"]), "QUOTES/1Sec/TICK")
    found = {workload: run.measure(workload) for workload in ["resample_1H", "resample_5Min", "asof"]}
    run.stores[0].version = git_version()
    versions = {store.title: store.version for store in run.stores}
    sizes = {"bars": args.bars, "trades": args.trades, "quotes": args.quotes}
    for store in run.stores:
        store.resume()
        store.end()
    shutil.rmtree(run.work, ignore_errors=True)
    if args.json:
        print(json.dumps({"versions": versions, "sizes": sizes, "figures": found}, indent=1))
        return
    print(f"{sizes}, {versions}")
    for workload, figure in found.items():
        cells = [f"{name} {ms:.1f} ms ({figure['times_mkts'][name]:.2f} x)" for name, ms in figure["ms"].items()]
        print(f"{workload:14} {figure['rows']:8} rows: " + ", ".join(cells))


main()
