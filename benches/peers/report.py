"""Figures as the tables of docs/benchmarks.md: medians, ratios to mkts, targets, losses."""

import datetime
import os
import platform
import statistics

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"

# workload, text, unit. Of rates more is better, of all others less.
ROWS = [
    ("ingest_bars", "bulk load of 982 800 bars, durable", "rows/s"),
    ("ingest_ticks", "bulk load of 1 020 306 trades, durable", "rows/s"),
    ("append_1", "one row, durable, 1 writer", "time"),
    ("append_16", "one row each, durable, 16 writers", "rows/s"),
    ("last_1000", "last 1000 bars of ten years", "time"),
    ("month", "one month of ten years", "time"),
    ("year", "one year, 98 280 bars x 6 columns", "time"),
    ("ten", "ten years, 982 800 bars", "time"),
    ("last_of_500", "last bar of 500 symbols", "time"),
    ("last_of_20000", "last bar of 20 000 symbols", "time"),
    ("column_500", "closes of 500 symbols for one day", "time"),
    ("aggregate", "ten years rolled up to 1H", "time"),
    ("asof", "24 293 trades as of 45 590 quotes", "time"),
    ("reopen", "open what was closed", "time"),
    ("size_year", "bytes a bar, one year (raw 48)", "bytes"),
    ("size_recorded", "bytes a bar, 4839 bars as recorded", "bytes"),
    ("size_trades", "bytes a trade, as recorded (raw 20)", "bytes"),
    ("size_all_quotes", "bytes a quote, as recorded (raw 32)", "bytes"),
    ("memory_empty", "resident memory, opened empty, MiB", "MiB"),
    ("memory_load", "most resident memory while loading, MiB", "MiB"),
    ("memory_read", "most resident memory while reading, MiB", "MiB"),
]


def markdown(run, unequal):
    parts = [machine(run), table(run), losses(run), targets(run), answers(unequal), notes(run)]
    return "\n".join(part for part in parts if part)


def machine(run):
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / (1 << 20)
    day = datetime.date.today().isoformat()
    return (
        f"Run of {day}: {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"{rounds(run.args.rounds)}. Beside each figure: how many times mkts' figure it is worse (below 1: better).\n"
    )


def rounds(count):
    return "1 round" if count == 1 else f"{count} rounds"


def ratio(run, workload, store, unit):
    """Median of the ratios of the rounds; above 1 mkts is better."""
    ours, theirs = run.figures[workload].get("mkts"), run.figures[workload].get(store)
    if not ours or not theirs or store == "mkts":
        return None
    pairs = [(a, b) for a, b in zip(ours, theirs) if a and b]
    ratios = [a / b if unit == "rows/s" else b / a for a, b in pairs]
    return statistics.median(ratios) if ratios else None


def table(run):
    stores = run.stores
    lines = ["| what | " + " | ".join(f"{s.title} {s.version}" for s in stores) + " |", "|---|" + "---|" * len(stores)]
    for workload, text, unit in ROWS:
        if workload in run.figures:
            cells = [cell(run, workload, store, unit) for store in stores]
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(run, workload, store, unit):
    values = run.figures[workload].get(store.name)
    if not values:
        return "missing" if store.missing and store.name not in run.missing.get(workload, {}) else "n/a"
    value = shown(statistics.median(values), unit)
    times = ratio(run, workload, store.name, unit)
    return value if times is None else f"{value} ({short(times)}x)"


def shown(value, unit):
    if unit == "time":
        for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
            if value >= size:
                return f"{short(value / size)} {name}"
        return f"{value:.0f} ns"
    if unit == "rows/s":
        return f"{short(value / 1e6)} M/s" if value >= 1e6 else f"{short(value / 1e3)} k/s"
    return short(value)


def short(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def losses(run):
    lost = []
    for workload, text, unit in ROWS:
        for store in run.stores:
            times = ratio(run, workload, store.name, unit) if workload in run.figures else None
            if times is not None and times < 1:
                lost.append(f"{text}: {store.title} is {short(1 / times)}x better")
    if not lost:
        return "**Lost:** nothing in this run.\n"
    return "**Lost:** " + "; ".join(lost) + ".\n"


def targets(run):
    lines = ["| target | measured | |", "|---|---|---|"]
    for text, value, limit, unit, least in goals(run):
        met = value is not None and (value >= limit if least else value <= limit)
        word = "not measured" if value is None else "met" if met else "**missed**"
        lines.append(f"| {text} | {'-' if value is None else shown(value, unit)} | {word} |")
    return "\n".join(lines) + "\n"


def goals(run):
    def of(workload, store="mkts"):
        values = run.figures.get(workload, {}).get(store)
        return statistics.median(values) if values else None

    def per(workload, store, other, other_store):
        ours, theirs = run.figures.get(workload, {}).get(store), run.figures.get(other, {}).get(other_store)
        return statistics.median(a / b for a, b in zip(ours, theirs)) if ours and theirs else None

    parquet = per("size_trades", "mkts", "size_trades", "polars")
    quotes = per("size_all_quotes", "mkts", "size_all_quotes", "polars")
    return [
        ("bars as recorded: at most 6 bytes a row", of("size_recorded"), 6, "ratio", False),
        ("trades: at most 0.4 of Parquet with zstd", parquet, 0.4, "ratio", False),
        ("quotes: at most 0.4 of Parquet with zstd", quotes, 0.4, "ratio", False),
        ("bulk load: at least 10 M rows/s", of("ingest_bars"), 10e6, "rows/s", True),
        ("tick load: at least 12 M rows/s", of("ingest_ticks"), 12e6, "rows/s", True),
        ("one-row append: at most 1.25 of a bare fdatasync", per("append_1", "mkts", "bare_sync", "probe"), 1.25, "ratio", False),
        ("16 writers: at least 0.8 of a group commit in C", per("append_16", "mkts", "group_commit_16", "probe"), 0.8, "ratio", True),
        ("start with 1 081 080 rows in the log: at most 50 ms", of("start_1m"), 50e6, "time", False),
        ("start with 1 GiB of log (22.6 M rows): at most 1 s", of("start_1gib"), 1e9, "time", False),
        ("open 20 000 buckets, 10 G rows: under 2 s", of("open_10g"), 2e9, "time", False),
        ("last 1000 bars: at most 15 us", of("last_1000"), 15e3, "time", False),
        ("one year: at most 0.45 ms", of("year"), 450e3, "time", False),
        ("ten years: at most 1.2 of a plain copy", per("ten_beside_copy", "mkts", "copy_ten", "mkts"), 1.2, "ratio", False),
        ("last bar of 500 symbols: at most 10 us", of("last_of_500"), 10e3, "time", False),
        ("last bar of 20 000 symbols: at most 1 ms", of("last_of_20000"), 1e6, "time", False),
        ("one column of 500 symbols: at most 1 ms", of("column_500"), 1e6, "time", False),
    ]


def answers(unequal):
    if not unequal:
        return "Every store gave the same rows, by checksum, to every question it answered.\n"
    return "**Unequal answers:** " + "; ".join(unequal) + ".\n"


def notes(run):
    lines = [f"- {s.title}: {s.notes}." for s in run.stores if not s.missing]
    lines += [f"- {s.title}: missing, {s.missing}." for s in run.stores if s.missing]
    why = {}
    for workload, stores in run.missing.items():
        for name, reason in stores.items():
            why.setdefault((name, reason), []).append(workload)
    for (name, reason), workloads in why.items():
        lines.append(f"- n/a: {name}, {', '.join(workloads)}: {reason}.")
    return "\n".join(lines) + "\n"


def insert(path, text):
    whole = path.read_text()
    if BEGIN not in whole or END not in whole:
        raise SystemExit(f"{path} has no {BEGIN} and {END}")
    before, rest = whole.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
