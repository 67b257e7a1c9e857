"""Frames of any kind as plain columns.

A DataFrame of pandas or polars, a table of Arrow, a structured array, or a mapping of columns
becomes `Columns`: times in nanoseconds, values of the types that a bucket can hold. What cannot be
stored as it is, is refused with the name of the column; nothing is rounded, cut or filled in, except
that a missing floating-point number is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InvalidInput, missing
from .keys import PARTS
from .times import MAX, MIN, nanoseconds, to_nanoseconds

#: Most characters of a text.
TEXT_MAX = 16
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

#: What `frame` may be; checked where it is used, as the libraries are optional.
Frame = Any


@dataclass
class Columns:
    """Rows to be written."""

    #: Nanoseconds since 1970 UTC.
    times: np.ndarray
    values: dict[str, np.ndarray]
    #: Text of symbol, timeframe and attribute_group for each row, where the frame has them.
    keys: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.times)

    def bytes(self) -> int:
        """How large they are on the wire, about."""
        return self.times.nbytes + sum(column.nbytes for column in self.values.values())

    def take(self, rows: Any) -> Columns:
        """Some of the rows."""
        values = {name: column[rows] for name, column in self.values.items()}
        keys = {name: column[rows] for name, column in self.keys.items()}
        return Columns(self.times[rows], values, keys)


def columns_of(frame: Frame, time: str = "Epoch", unit: str | None = None) -> Columns:
    """The columns of a frame; `time` names that of the times, `unit` is theirs if they are integers."""
    if unit is not None and unit not in UNITS:
        raise InvalidInput(f"unit {unit!r}: one of {', '.join(UNITS)}")
    raw = _raw(frame, time)
    if time not in raw:
        names = ", ".join(map(str, raw)) or "none"
        raise InvalidInput(
            f"there is no column {time!r} with the times; there are: {names}",
            hint="name it with time=..., or use a DatetimeIndex",
        )
    for name in raw:
        if not isinstance(name, str):
            raise InvalidInput(f"column {name!r}: names are text")
    times = _times(time, raw.pop(time), unit)
    nanos = raw.get("Nanoseconds")
    if unit is not None and unit != "ns" and nanos is not None and nanos.dtype.kind in "iu":
        times = times + raw.pop("Nanoseconds").astype("i8")
    lengths = {len(column) for column in raw.values()} | {len(times)}
    if len(lengths) > 1:
        raise InvalidInput(f"columns of different lengths: {sorted(lengths)}")
    keys = {part: _text(part, raw.pop(part)) for part in PARTS if part in raw and _is_text(raw[part])}
    if not raw:
        raise InvalidInput("there is no column beside the times")
    return Columns(times, {name: _values(name, column) for name, column in raw.items()}, keys)


def _raw(frame: Frame, time: str) -> dict[Any, np.ndarray]:
    """Columns by name, as numpy has them."""
    library = type(frame).__module__.split(".")[0]
    if library == "pandas":
        return _of_pandas(frame, time)
    if library == "polars":
        return _of_polars(frame)
    if library == "pyarrow" or hasattr(frame, "__arrow_c_stream__"):
        return _of_arrow(frame)
    if isinstance(frame, np.ndarray):
        if frame.dtype.names is None:
            raise InvalidInput("an array needs named columns", hint="a structured dtype, or a dict")
        return {name: frame[name] for name in frame.dtype.names}
    if isinstance(frame, Mapping):
        return {name: _array(column) for name, column in frame.items()}
    raise InvalidInput(
        f"{type(frame).__name__} is no frame",
        hint="pandas, polars, pyarrow, a structured array or a dict of columns",
    )


def _array(column: Any) -> np.ndarray:
    if isinstance(column, (str, bytes)) or not hasattr(column, "__len__"):
        raise InvalidInput(f"a column is a list or an array, not {type(column).__name__}")
    array = np.asarray(column)
    if array.ndim != 1:
        raise InvalidInput("a column has one dimension")
    return array


def _of_pandas(frame: Any, time: str) -> dict[Any, np.ndarray]:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise InvalidInput(f"a DataFrame is needed, not {type(frame).__name__}")
    if not frame.columns.is_unique:
        raise InvalidInput("two columns have one name")
    raw: dict[Any, np.ndarray] = {}
    if time not in frame.columns:
        if isinstance(frame.index, pd.MultiIndex):
            frame = frame.reset_index()
        elif isinstance(frame.index, pd.DatetimeIndex) or frame.index.name == time:
            raw[time] = _pandas_column(time, frame.index.to_series())
    for name in frame.columns:
        raw[name] = _pandas_column(name, frame[name])
    return raw


def _pandas_column(name: Any, series: Any) -> np.ndarray:
    kind = series.dtype.kind if hasattr(series.dtype, "kind") else "O"
    if kind == "M":
        if getattr(series.dt, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return np.asarray(series.to_numpy(dtype=f"M8[{series.dt.unit}]"))
    if isinstance(series.dtype, np.dtype):
        return np.asarray(series.to_numpy())
    if kind == "f":
        return np.asarray(series.to_numpy(dtype=f"f{series.dtype.itemsize}", na_value=np.nan))
    if bool(series.isna().any()):
        raise _gap(name, int(np.asarray(series.isna()).argmax()))
    if kind in "iub":
        return np.asarray(series.to_numpy(dtype=series.dtype.numpy_dtype))
    return np.asarray(series.to_numpy(dtype=object))


def _of_polars(frame: Any) -> dict[Any, np.ndarray]:
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        raise InvalidInput("a LazyFrame has no rows yet", hint="call collect()")
    if not isinstance(frame, pl.DataFrame):
        raise InvalidInput(f"a DataFrame is needed, not {type(frame).__name__}")
    raw: dict[Any, np.ndarray] = {}
    for series in frame.get_columns():
        if series.dtype.is_float():
            raw[series.name] = series.fill_null(float("nan")).to_numpy()
            continue
        if series.null_count():
            raise _gap(series.name, int(series.is_null().arg_max() or 0))
        if isinstance(series.dtype, pl.Datetime):
            unit = series.dtype.time_unit
            raw[series.name] = series.to_physical().to_numpy().astype(f"M8[{unit}]")
        elif series.dtype in (pl.Categorical, pl.Enum):
            raw[series.name] = series.cast(pl.String).to_numpy()
        else:
            raw[series.name] = series.to_numpy()
    return raw


def _of_arrow(frame: Any) -> dict[Any, np.ndarray]:
    try:
        import pyarrow as pa
    except ImportError:
        raise missing("pyarrow", "arrow") from None
    table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    if len(set(table.column_names)) != len(table.column_names):
        raise InvalidInput("two columns have one name")
    return {name: _arrow_column(name, table.column(name), pa) for name in table.column_names}


def _arrow_column(name: str, column: Any, pa: Any) -> np.ndarray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if column.null_count and not pa.types.is_floating(kind):
        raise _gap(name, int(np.asarray(column.is_null()).argmax()))
    if pa.types.is_timestamp(kind):
        return np.asarray(column.cast(pa.int64())).astype(f"M8[{kind.unit}]")
    return np.asarray(column.to_numpy())


def _gap(name: Any, row: int) -> InvalidInput:
    return InvalidInput(
        f"column {name!r}: row {row} has no value; only floating-point columns can have gaps (NaN)"
    )


def _times(name: str, column: np.ndarray, unit: str | None) -> np.ndarray:
    if column.dtype.kind == "M":
        return to_nanoseconds(column, name)
    if column.dtype.kind in "iu":
        if unit is None:
            raise InvalidInput(
                f"column {name!r}: integers, but of which unit?", hint="unit='s', 'ms', 'us' or 'ns'"
            )
        factor = UNITS[unit]
        if len(column) and not MIN <= int(column.min()) * factor <= int(column.max()) * factor <= MAX:
            raise InvalidInput(f"column {name!r}: outside of the years 1678 to 2261 in {unit!r}")
        return column.astype("<i8") * factor
    if column.dtype.kind in "OU":
        return np.array([nanoseconds(value, name) for value in column.tolist()], dtype="<i8")
    raise InvalidInput(f"column {name!r}: {column.dtype} are no times")


def _is_text(column: np.ndarray) -> bool:
    if column.dtype.kind == "U":
        return True
    return column.dtype.kind == "O" and all(isinstance(value, str) for value in column.tolist())


def _text(name: str, column: np.ndarray) -> np.ndarray:
    return column.astype(str)


def _values(name: str, column: np.ndarray) -> np.ndarray:
    """A column of a type that a bucket can hold, little-endian."""
    dtype = column.dtype
    if dtype.kind == "O":
        return _objects(name, column)
    if dtype.kind == "U":
        return _short(name, column)
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return np.ascontiguousarray(column, dtype=dtype.newbyteorder("<"))
    if dtype.kind == "f" and dtype.itemsize == 2:
        return column.astype("<f4")
    hints = {"b": "store it as uint8", "M": "store it as int64", "S": "decode it to text"}
    raise InvalidInput(f"column {name!r}: {dtype} cannot be stored", hint=hints.get(dtype.kind))


def _objects(name: str, column: np.ndarray) -> np.ndarray:
    values = column.tolist()
    for row, value in enumerate(values):
        if value is None:
            raise _gap(name, row)
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (str, int, float, np.number)):
            raise InvalidInput(f"column {name!r}: row {row}: {type(value).__name__} cannot be stored")
    texts = sum(isinstance(value, str) for value in values)
    if texts not in (0, len(values)):
        raise InvalidInput(f"column {name!r} mixes texts and numbers")
    array = np.array(values, dtype=str if texts else None)
    if array.dtype.kind == "O":
        raise InvalidInput(f"column {name!r}: a number has more than 64 bits")
    return _values(name, array)


def _short(name: str, column: np.ndarray) -> np.ndarray:
    lengths = np.strings.str_len(column) if hasattr(np, "strings") else np.char.str_len(column)
    if len(column) and int(lengths.max()) > TEXT_MAX:
        row = int(lengths.argmax())
        raise InvalidInput(
            f"column {name!r}: row {row}: {str(column[row])!r} has more than {TEXT_MAX} characters"
        )
    return column.astype(f"<U{TEXT_MAX}")


def code(column: np.ndarray) -> str:
    """The type of a column on the wire: `f4`, `U16`."""
    text: str = column.dtype.str
    return text.lstrip("<|=")


def wire_bytes(column: np.ndarray) -> bytes:
    """The values of a column, one after the other."""
    return column.tobytes()
