"""Times mkts beside other stores: the same rows, the same questions, one run, in turn.

    bash benches/peers/run.sh              # builds, installs the stores into an own venv, runs this

Each store lives in a process of its own and is stopped while another is measured. Every question is
asked in some rounds, each store in turn; what counts is the median of the rounds, and the median of
the ratios of each round. Answers carry a checksum: a store that answers otherwise than mkts fails
the run.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import data
import report
import systems
from process import Store

COLUMN_TYPES = {"float64": "f64", "int32": "i32"}
RECORD_BYTES = 112  # what mkts logs for one bar of five f64

# name, question, fields. Keys and tables are those of `Run.tables`.
QUESTIONS = [
    ("last_1000", "last", {"table": "ten", "count": 1000}),
    ("year", "range", {"table": "year"}),
    ("ten", "range", {"table": "ten"}),
    ("month", "range", {"table": "ten", "from": 1546300800 * data.SECOND, "to": 1548979200 * data.SECOND}),
    ("last_of_500", "last_of_all", {"table": "day"}),
    ("last_of_20000", "last_of_all", {"table": "last"}),
    ("column_500", "column", {"table": "day", "column": "Close", "from": 0, "to": 1 << 61}),
    ("aggregate", "aggregate", {"table": "ten", "timeframe": "1H"}),
    ("asof", "asof", {"table": "tape"}),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", type=pathlib.Path, required=True, help="benches' driver, built with --release")
    parser.add_argument("--probe", type=pathlib.Path, help="benches/probe/group_commit.c, compiled")
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="where the stores are made, on the disk in question")
    parser.add_argument("--systems", default=",".join(systems.MODULES), help="the stores beside mkts (default: all)")
    parser.add_argument("--how", choices=["ingest", "write"], default="ingest", help="bulk loads of mkts: past the log or through it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-ms", type=int, default=300, help="for one question in one round")
    parser.add_argument("--json", type=pathlib.Path, help="all figures of all rounds")
    parser.add_argument("--docs", type=pathlib.Path, help="put the tables into this file, between its markers")
    return parser.parse_args()


class Run:
    def __init__(self, args):
        self.args = args
        self.work = args.dir / "peers"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.log = open(self.work / "stderr.log", "w")
        self.figures = {}  # workload -> store -> list, one of each round
        self.answers = {}  # workload -> store -> (rows, sum)
        self.missing = {}  # workload -> store -> why
        self.tables = {}
        self.began = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    # -- the rows ----------------------------------------------------------------------------

    def add(self, table):
        """A request part that names the table to every store."""
        path = table.write(self.work)
        columns = [[name, COLUMN_TYPES[str(values.dtype)]] for name, values in table.columns.items()]
        named = {"table": table.name, "kind": table.kind, "file": str(path), "rows": table.rows, "columns": columns}
        self.tables[table.name] = {**named, **keys_of(table)}

    def make_tables(self):
        ten = data.long_bars("ten", 10 * data.YEAR)
        ticks = data.trades("ticks", 42)
        self.add(data.long_bars("year", data.YEAR))
        self.add(ten)
        self.add(ticks)
        for copy in range(1, 3):
            ten.name, ten.symbols = f"ten{copy}", [f"TEN{copy}"]
            self.add(ten)
            ticks.name, ticks.symbols = f"ticks{copy}", [f"TICKS{copy}"]
            self.add(ticks)
        self.add(data.many_bars("day", "D", 500, 390))
        self.add(data.many_bars("last", "L", 20000, 8))
        self.add(data.first_rows(ten, "fill", 50_000))
        self.add(data.recorded_bars())
        self.add(data.trades())
        self.add(data.quotes("all_quotes"))
        tape = data.trades("tape")
        tape.columns["Seq"] = data.np.arange(tape.rows, dtype=data.np.int32)
        self.add(tape)
        self.add(data.quotes(distinct=True))

    # -- measuring ---------------------------------------------------------------------------

    def start(self):
        stores = [Store.of_driver(self.args.driver, self.log)]
        for name in filter(None, self.args.systems.split(",")):
            stores.append(Store.of_worker(name, self.log))
        stores[0].version = git_version()
        self.stores = stores
        for store in stores:
            self.say(f"{store.title} {store.version}" + (f": missing, {store.missing}" if store.missing else ""))
            store.pause()

    @contextlib.contextmanager
    def only(self, store):
        store.resume()
        try:
            yield store
        finally:
            store.pause()

    def note(self, workload, store, answer, value="ns"):
        """Keeps a figure, or why there is none."""
        if answer.get("ok") and value in answer:
            self.figures.setdefault(workload, {}).setdefault(store.name, []).append(answer[value])
            return True
        why = answer.get("missing") or answer.get("error") or "no figure"
        self.missing.setdefault(workload, {})[store.name] = why
        return False

    def in_turn(self, round_number):
        alive = [store for store in self.stores if not store.missing]
        turn = round_number % len(alive)
        return alive[turn:] + alive[:turn]

    def load(self, workload, names):
        """Each store loads the same tables; the rates of the rounds are one workload."""
        for number, name in enumerate(names):
            for store in self.in_turn(number):
                how = {"how": self.args.how} if store.name == "mkts" else {}
                with self.only(store):
                    answer = store.ask("ingest", **self.tables[name], **how)
                if answer.get("ok"):
                    answer["rate"] = answer["rows"] * 1e9 / answer["ns"]
                self.note(workload or f"load {name}", store, answer, "rate")

    def open_stores(self, part):
        for store in self.stores:
            with self.only(store):
                store.reset_peak()
                answer = store.ask("open", dir=str(self.work / part / store.name))
                if not answer.get("ok") and not store.missing:
                    store.give_up(answer["error"])

    def settle(self):
        for store in self.stores:
            with self.only(store):
                if store.name == "mkts":
                    store.ask("checkpoint")
                    store.ask("merge")
                else:
                    store.ask("settle")

    def questions(self):
        for workload, op, fields in QUESTIONS:
            fields = {**self.keys(fields["table"]), **fields}
            if op == "asof":
                fields.update(trades=self.tables["tape"]["key"], quotes=self.tables["quotes"]["key"])
            for number in range(self.args.rounds):
                for store in self.in_turn(number):
                    if store.name in self.missing.get(workload, {}):
                        continue
                    with self.only(store):
                        budget = self.args.budget_ms
                        answer = store.ask(op, repeat=1000, budget_ms=budget, timeout=60, **fields)
                    if self.note(workload, store, answer):
                        self.answers.setdefault(workload, {})[store.name] = (answer["rows"], answer["sum"])
            self.say(f"{workload}: {self.line(workload)}")

    def keys(self, table):
        return {k: v for k, v in self.tables[table].items() if k in ("key", "prefix", "count")}

    def copy(self):
        """What a plain copy of ten years takes, in turn with reading them."""
        mkts = self.stores[0]
        for _ in range(self.args.rounds):
            with self.only(mkts):
                for workload, op in (("copy_ten", "copy"), ("ten_beside_copy", "range")):
                    answer = mkts.ask(op, repeat=50, budget_ms=self.args.budget_ms, **self.keys("ten"))
                    self.note(workload, mkts, answer)

    def appends(self):
        """One row after the other, each durable, in turn with what the bare disk gives."""
        mkts = self.stores[0]
        with self.only(mkts):
            # The log makes its files ahead at first; that is not what is measured.
            for _ in range(20):
                answer = mkts.ask("append", key="APPENDED/1Min/OHLCV", rows=500)
                if answer.get("ok") and answer["rows_per_s"] > 1000:
                    break
        for number in range(self.args.rounds):
            self.probe("bare_sync", 0)
            for store in self.in_turn(number):
                for workload, writers in (("append_1", 1), ("append_16", 16)):
                    if store.name in self.missing.get(workload, {}):
                        continue
                    if store.name == "mkts" and writers == 16:
                        self.probe("group_commit_16", 16)
                    # About as long as the probe; the others take milliseconds a row.
                    rows = 1000 * (writers + 1) if store.name == "mkts" else 200
                    with self.only(store):
                        answer = store.ask("append", key="APPENDED/1Min/OHLCV", rows=rows, writers=writers)
                    value = "ns" if writers == 1 else "rows_per_s"
                    self.note(workload, store, answer, value)
        for workload in ("append_1", "append_16"):
            self.say(f"{workload}: {self.line(workload)}")

    def probe(self, workload, writers):
        if not self.args.probe:
            return
        command = [str(self.args.probe), str(self.work), str(writers), "0.4", str(RECORD_BYTES)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        value = answer["median_ns"] if writers == 0 else answer["commits"] / answer["seconds"]
        self.figures.setdefault(workload, {}).setdefault("probe", []).append(value)

    def reopen(self):
        for number in range(3):
            for store in self.in_turn(number):
                with self.only(store):
                    self.note("reopen", store, store.ask("reopen"))
        self.say(f"reopen: {self.line('reopen')}")

    # -- starting ----------------------------------------------------------------------------

    def starts(self):
        """How long mkts takes to start: with rows in the log after a kill, and with large segments."""
        large = {"tail_bytes_max": 1 << 50, "wal_bytes_max": 4 << 30}
        for workload, names in (("start_1m", ["ten", "year"]), ("start_1gib", ["ten"] * 23)):
            template = self.work / "start" / workload
            store = Store.of_driver(self.args.driver, self.log)
            store.ask("open", dir=str(template), options=large)
            rows = 0
            for number, name in enumerate(names):
                key = {"key": f"START{number}/1Min/OHLCV"}
                rows += store.ask("ingest", how="write", **{**self.tables[name], **key}).get("rows", 0)
            store.give_up("killed, as a crash would")
            for _ in range(3):
                copy = self.work / "start" / "copy"
                shutil.copytree(template, copy)
                subprocess.run(["sync", *[str(path) for path in copy.rglob("*")]], check=True)
                self.start_one(workload, copy, rows)
                shutil.rmtree(copy)
            shutil.rmtree(template)
            self.say(f"{workload}: {self.line(workload)}")
        self.start_large()

    def start_one(self, workload, directory, rows):
        store = Store.of_driver(self.args.driver, self.log)
        answer = store.ask("open", dir=str(directory))
        if answer.get("ok") and answer["rows"] != rows:
            answer = {"ok": False, "error": f"{answer['rows']} of {rows} rows replayed"}
        self.note(workload, store, answer)
        store.give_up("killed")

    def start_large(self):
        """20 000 buckets with 500 000 rows each, in ten segments."""
        fields = {**self.tables["fill"], "prefix": "F", "count": 20000}
        del fields["key"]
        directory = self.work / "start" / "large"
        store = Store.of_driver(self.args.driver, self.log)
        store.ask("open", dir=str(directory), options={"merge": False})
        for segment in range(10):
            answer = store.ask("fill", later=segment * 400 * data.DAY, **fields)
            if not answer.get("ok"):
                self.note("open_10g", store, answer)
        store.ask("close")
        store.end()
        for _ in range(3):
            self.start_one("open_10g", directory, 0)
        shutil.rmtree(directory)
        self.say(f"open_10g: {self.line('open_10g')}")

    def memory(self, workload):
        for store in self.stores:
            value = store.memory_mib()
            if value is not None:
                self.figures.setdefault(workload, {}).setdefault(store.name, []).append(value)

    def reset_memory(self):
        for store in self.stores:
            store.reset_peak()

    def sizes(self):
        """A store of its own for each table, closed: all bytes below its directory."""
        for store in self.stores:
            with self.only(store):
                store.ask("close")
        for name in ["year", "recorded", "trades", "all_quotes"]:
            rows = self.tables[name]["rows"]
            for store in self.stores:
                if store.missing:
                    continue
                directory = self.work / "size" / name / store.name
                with self.only(store):
                    opened = store.ask("open", dir=str(directory))
                    empty = used(directory)
                    how = {"how": self.args.how} if store.name == "mkts" else {}
                    answer = store.ask("ingest", **self.tables[name], **how)
                    store.ask("merge" if store.name == "mkts" else "settle")
                    closed = store.ask("close")
                if opened.get("ok") and answer.get("ok") and closed.get("ok"):
                    answer["bytes"] = (used(directory) - empty) / rows
                self.note(f"size_{name}", store, answer, "bytes")
            self.say(f"size_{name}: {self.line(f'size_{name}')}")

    def line(self, workload):
        medians = {name: statistics.median(values) for name, values in self.figures.get(workload, {}).items()}
        shown = [f"{name} {value:,.0f}" if value > 100 else f"{name} {value:.2f}" for name, value in medians.items()]
        missing = [f"{name} n/a" for name in self.missing.get(workload, {})]
        return ", ".join(shown + missing)

    def all(self):
        self.make_tables()
        self.start()
        self.open_stores("main")
        self.memory("memory_empty")
        self.load("ingest_bars", ["ten", "ten1", "ten2"])
        self.load("ingest_ticks", ["ticks", "ticks1", "ticks2"])
        for name in ["year", "day", "last", "tape", "quotes"]:
            self.load(None, [name])
        self.memory("memory_load")
        self.say(f"ingest_bars: {self.line('ingest_bars')}")
        self.say(f"ingest_ticks: {self.line('ingest_ticks')}")
        self.settle()
        self.reset_memory()
        self.questions()
        self.copy()
        self.memory("memory_read")
        self.appends()
        self.reopen()
        self.sizes()
        for store in self.stores:
            store.resume()
            store.end()
        self.starts()

    def unequal(self):
        """Answers that are not mkts'."""
        bad = []
        for workload, answers in self.answers.items():
            ours = answers.get("mkts")
            for name, answer in answers.items():
                if answer != ours:
                    bad.append(f"{workload}: {name} gives {answer}, mkts {ours}")
        return bad


def keys_of(table):
    """How the driver names the buckets of a table."""
    if len(table.symbols) > 1:
        return {"prefix": table.symbols[0][0], "count": len(table.symbols)}
    group = "1Min/OHLCV" if table.kind == "bar" else "1Sec/TICK"
    return {"key": f"{table.symbols[0]}/{group}"}


def used(directory):
    """Bytes of the disk below a directory; mkts' empty log, made ahead, is not data."""
    total = 0
    for path in directory.rglob("*"):
        if path.is_file() and path.parent.name != "wal":
            found = path.stat()
            # The smaller: neither holes of a file nor the rest of its last block are data.
            total += min(found.st_blocks * 512, found.st_size)
    return total


def git_version():
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=pathlib.Path(__file__).parent)
    return found.stdout.strip() or "unknown"


def main():
    args = arguments()
    args.dir, args.driver = args.dir.resolve(), args.driver.resolve()
    args.probe = args.probe and args.probe.resolve()
    run = Run(args)
    run.all()
    unequal = run.unequal()
    shutil.rmtree(run.work / "size", ignore_errors=True)
    if args.json:
        stores = [{"name": s.name, "title": s.title, "version": s.version, "missing": s.missing} for s in run.stores]
        whole = {"stores": stores, "figures": run.figures, "missing": run.missing, "unequal": unequal}
        args.json.write_text(json.dumps(whole, indent=1) + "\n")
    text = report.markdown(run, unequal)
    print(text)
    if args.docs:
        report.insert(args.docs, text)
    if os.environ.get("KEEP") is None:
        shutil.rmtree(run.work, ignore_errors=True)
    sys.exit(1 if unequal else 0)


if __name__ == "__main__":
    main()
