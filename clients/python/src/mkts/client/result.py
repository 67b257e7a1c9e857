"""What a question gives: rows, as the library of your choice has them.

Times are `Epoch`: nanoseconds, UTC. In pandas they are the index.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .errors import InvalidInput, missing
from .keys import PARTS, parse

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

EPOCH = "Epoch"


class Result:
    """Rows and columns."""

    def numpy(self) -> dict[str, np.ndarray]:
        """Columns by name; `Epoch` is datetime64[ns] in UTC. They are yours to change."""
        raise NotImplementedError

    def arrow(self) -> pa.Table:
        """A table of Arrow; numbers are not copied."""
        raise NotImplementedError

    def pandas(self, tz: str = "UTC") -> pd.DataFrame:
        """A DataFrame, with `Epoch` as its index in the zone `tz`."""
        raise NotImplementedError

    def polars(self) -> pl.DataFrame:
        """A DataFrame of polars."""
        raise NotImplementedError

    def records(self) -> np.ndarray:
        """One structured array."""
        columns = self.numpy()
        rows = len(next(iter(columns.values()))) if columns else 0
        array = np.empty(rows, dtype=[(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            array[name] = column
        return array

    def __len__(self) -> int:
        raise NotImplementedError

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For libraries that read Arrow: `duckdb.from_arrow(result)`, `pl.DataFrame(result)`."""
        return self.arrow().__arrow_c_stream__(requested_schema)


class Columnar(Result):
    """A result that has columns of numpy."""

    def _columns(self) -> dict[str, np.ndarray]:
        """Views that must not be changed, `Epoch` first."""
        raise NotImplementedError

    def numpy(self) -> dict[str, np.ndarray]:
        return {name: column.copy() for name, column in self._columns().items()}

    def arrow(self) -> pa.Table:
        try:
            import pyarrow as pa
        except ImportError:
            raise missing("pyarrow", "arrow") from None
        arrays = {}
        for name, column in self._columns().items():
            if name == EPOCH:
                arrays[name] = pa.array(column.view("i8")).cast(pa.timestamp("ns", tz="UTC"))
            elif column.dtype.kind in "UO":
                arrays[name] = pa.array(column, type=pa.string())
            else:
                arrays[name] = pa.array(column)
        return pa.table(arrays)

    def pandas(self, tz: str = "UTC") -> pd.DataFrame:
        try:
            import pandas as pd
        except ImportError:
            raise missing("pandas", "pandas") from None
        columns = dict(self._columns())
        index = pd.DatetimeIndex(columns.pop(EPOCH).copy(), name=EPOCH).tz_localize("UTC")
        for name, column in columns.items():
            # Texts are objects for pandas; fixed width is not known to it.
            columns[name] = column.astype(object) if column.dtype.kind == "U" else column.copy()
        index = index if tz == "UTC" else index.tz_convert(tz)
        frame: pd.DataFrame = pd.DataFrame(columns, index=index, copy=False)
        return frame

    def polars(self) -> pl.DataFrame:
        try:
            import polars as pl
        except ImportError:
            raise missing("polars", "polars") from None
        series = []
        for name, column in self._columns().items():
            if name == EPOCH:
                times = pl.Series(name, column.view("i8"))
                series.append(times.cast(pl.Datetime("ns", "UTC")))
            elif column.dtype.kind in "UO":
                series.append(pl.Series(name, column.tolist(), dtype=pl.String))
            else:
                series.append(pl.Series(name, column))
        return pl.DataFrame(series)


class Table(Columnar):
    """Rows of one bucket."""

    def __init__(self, key: str, columns: dict[str, np.ndarray]) -> None:
        self.key = key
        self.symbol, self.timeframe, self.attribute_group = parse(key)
        self._values = columns

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, `Epoch` first."""
        return tuple(self._values)

    def _columns(self) -> dict[str, np.ndarray]:
        return self._values

    def __len__(self) -> int:
        return len(self._values[EPOCH])

    def __repr__(self) -> str:
        return f"<Table {self.key}: {len(self)} rows, {', '.join(self._values)}>"


class QueryResult(Columnar, Mapping[str, Table]):
    """Rows of the buckets that were asked for, by key.

    Asked for one key, it has the columns of that bucket. Asked for a list or a pattern, it has
    `symbol`, `timeframe` and `attribute_group` in front, whatever was found.
    """

    def __init__(self, tables: dict[str, Table], missing: tuple[str, ...], plural: bool) -> None:
        self._tables = tables
        #: Keys that were asked for and are not there (`missing="skip"`).
        self.missing = missing
        self._plural = plural

    def __getitem__(self, key: str) -> Table:
        return self._tables[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        """How many buckets there are; rows are counted by `rows`."""
        return len(self._tables)

    @property
    def rows(self) -> int:
        """Rows of all buckets."""
        return sum(len(table) for table in self._tables.values())

    def _columns(self) -> dict[str, np.ndarray]:
        tables = list(self._tables.values())
        if not self._plural:
            return tables[0]._columns()
        if not tables:
            return {EPOCH: np.empty(0, "M8[ns]")}
        first = tables[0]._columns()
        for table in tables[1:]:
            shape = {name: column.dtype for name, column in table._columns().items()}
            if shape != {name: column.dtype for name, column in first.items()}:
                raise InvalidInput(
                    f"{table.key} has other columns than {tables[0].key}",
                    hint="choose columns=[...] that agree, or take the tables one by one",
                )
        lengths = [len(table) for table in tables]
        joined = {
            part: np.repeat(np.array([getattr(table, part) for table in tables], object), lengths)
            for part in PARTS
        }
        for name in first:
            joined[name] = np.concatenate([table._columns()[name] for table in tables])
        return joined

    def __repr__(self) -> str:
        return f"<QueryResult: {self.rows} rows of {len(self)} buckets>"


class SqlResult(Result):
    """Rows of a statement: an Arrow stream, read when it is asked for."""

    def __init__(self, data: bytes) -> None:
        #: The Arrow IPC stream as it came.
        self.data = data
        self._table: pa.Table | None = None

    def arrow(self) -> pa.Table:
        if self._table is None:
            try:
                import pyarrow as pa
            except ImportError:
                raise missing("pyarrow", "arrow") from None
            self._table = pa.ipc.open_stream(pa.py_buffer(self.data)).read_all()
        return self._table

    def polars(self) -> pl.DataFrame:
        try:
            import polars as pl
        except ImportError:
            raise missing("polars", "polars") from None
        return pl.read_ipc_stream(io.BytesIO(self.data))

    def numpy(self) -> dict[str, np.ndarray]:
        table = self.arrow()
        return {name: np.array(table.column(name).to_numpy()) for name in table.column_names}

    def pandas(self, tz: str = "UTC") -> pd.DataFrame:
        """A DataFrame; a column `Epoch` is its index."""
        if importlib.util.find_spec("pandas") is None:
            raise missing("pandas", "pandas")
        frame: pd.DataFrame = self.arrow().to_pandas()
        if EPOCH in frame.columns and frame[EPOCH].dtype.kind == "M":
            frame = frame.set_index(EPOCH)
            if tz != "UTC":
                frame = frame.tz_convert(tz)
        return frame

    def __len__(self) -> int:
        rows: int = self.arrow().num_rows
        return rows

    def __repr__(self) -> str:
        return f"<SqlResult: {len(self.data)} bytes of Arrow>"
