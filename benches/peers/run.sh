#!/usr/bin/env bash
# mkts beside DuckDB, Polars, ArcticDB, Vortex, SQLite and ClickHouse, in one run on this machine.
#
#   bash benches/peers/run.sh                    # about ten minutes, three of them after the build
#   bash benches/peers/run.sh --docs docs/benchmarks.md     # puts the tables there, too
#   BENCH_DIR=/mnt/disk bash benches/peers/run.sh --systems duckdb,sqlite --rounds 2
#
# Needs cargo, cc, python3 with venv, and the Python package index for what is not installed yet. A
# store that cannot be installed is printed as missing. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
dir=${BENCH_DIR:-$target/peers}
venv=${BENCH_VENV:-$target/peers-venv}
mkdir -p "$dir"

cargo build --release --quiet --package benches --bin driver
"${CC:-cc}" -O2 -Wall -pthread benches/probe/group_commit.c -o "$dir/group_commit"

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
while read -r package; do
    case $package in '' | '#'*) continue ;; esac
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" \
        || echo "run.sh: $package cannot be installed; its store will be missing" >&2
done < benches/peers/requirements.txt

exec "$venv/bin/python" benches/peers/compare.py --driver "$target/release/driver" \
    --probe "$dir/group_commit" --dir "$dir" --json "$dir/figures.json" "$@"
