"""The stores that are measured beside mkts, one module each."""

import importlib

MODULES = {
    "duckdb": "duckdb_table",
    "polars": "polars_parquet",
    "arcticdb": "arctic_lmdb",
    "vortex": "vortex_file",
    "sqlite": "sqlite_table",
    "clickhouse": "clickhouse_table",
}

# Asked by sql.py only.
SQL_MODULES = {"duckdb_parquet": "duckdb_parquet"}


def load(name):
    return importlib.import_module(f"systems.{({**MODULES, **SQL_MODULES})[name]}").System()
