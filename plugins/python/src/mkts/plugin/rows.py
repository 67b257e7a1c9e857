"""Rows as they travel (plugin.proto says how the bytes lie) and as numpy and Arrow see them.

A decoded column is a view of the message's bytes and read-only. Times are nanoseconds since 1970
UTC; as a column they are called `Epoch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import PluginError, wrong_type
from .v1 import plugin_pb2 as pb

BARS = 0
TICKS = 1
EPOCH = "Epoch"
NANOSECONDS = "Nanoseconds"
_SECOND = 1_000_000_000
_SECONDS_MAX = (2**63 - 1) // _SECOND
_TEXT = np.dtype("<U16")

DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("<i4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i8"),
    5: np.dtype("i1"),
    9: np.dtype("<i2"),
    10: np.dtype("u1"),
    11: np.dtype("<u2"),
    12: np.dtype("<u4"),
    13: np.dtype("<u8"),
    14: _TEXT,
}
_CODES = {(dtype.kind, dtype.itemsize): code for code, dtype in DTYPES.items()}


class Schema:
    """Names and types of columns; `Epoch` is not among them."""

    __slots__ = ("kind", "names", "dtypes")

    def __init__(self, kind: int, columns: list[tuple[str, int]]):
        self.kind = kind
        self.names = tuple(name for name, _ in columns)
        unknown = [code for _, code in columns if code not in DTYPES]
        if unknown:
            raise PluginError(f"protocol: no column type has number {unknown[0]}")
        self.dtypes = tuple(DTYPES[code] for _, code in columns)

    @classmethod
    def of(cls, message: pb.Schema) -> Schema:
        return cls(message.kind, [(column.name, column.type) for column in message.columns])


class Rows:
    """Rows of one schema."""

    __slots__ = ("_schema", "_parts", "_columns")

    def __init__(self, schema: Schema, parts: list[bytes]):
        self._schema = schema
        self._parts = parts
        self._columns: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return sum(_count(part) for part in self._parts)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.numpy()[name]

    def __contains__(self, name: str) -> bool:
        return name == EPOCH or name in self._schema.names

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without `Epoch`."""
        return self._schema.names

    @property
    def times(self) -> np.ndarray:
        """Times in nanoseconds since 1970 UTC (int64)."""
        return self.numpy()[EPOCH].view("<i8")

    def numpy(self) -> dict[str, np.ndarray]:
        """Columns by name; `Epoch` is datetime64[ns]. Views of the message, without a copy."""
        if self._columns is None:
            decoded = [_decode(self._schema, part) for part in self._parts]
            if len(decoded) == 1:
                self._columns = decoded[0]
            else:
                # A bucket without rows in range: no part at all.
                decoded = decoded or [_decode(self._schema, bytes(8))]
                self._columns = {
                    name: np.concatenate([part[name] for part in decoded]) for name in decoded[0]
                }
        return self._columns

    def arrow(self) -> Any:
        """A `pyarrow.RecordBatch`; numbers are not copied."""
        try:
            import pyarrow
        except ImportError as error:
            raise PluginError("batch.arrow() needs pyarrow: pip install 'mkts-plugin[arrow]'") from error
        arrays, names = [], []
        for name, values in self.numpy().items():
            if name == EPOCH:
                times = pyarrow.array(values.view("<i8"))
                arrays.append(times.view(pyarrow.timestamp("ns", tz="UTC")))
            elif values.dtype == _TEXT:
                arrays.append(pyarrow.array(values.tolist(), pyarrow.string()))
            else:
                arrays.append(pyarrow.array(values))
            names.append(name)
        return pyarrow.RecordBatch.from_arrays(arrays, names=names)


def _count(data: bytes) -> int:
    if len(data) < 8:
        raise PluginError(f"protocol: rows of {len(data)} bytes have no count")
    return int.from_bytes(data[:8], "little")


def _decode(schema: Schema, data: bytes) -> dict[str, np.ndarray]:
    count = _count(data)
    parts = [(EPOCH, np.dtype("<M8[ns]")), *zip(schema.names, schema.dtypes)]
    size = 8 + sum(_padded(count * dtype.itemsize) for _, dtype in parts)
    if size != len(data):
        raise PluginError(f"protocol: {count} rows have {size} bytes, not {len(data)}")
    columns, at = {}, 8
    for name, dtype in parts:
        columns[name] = np.frombuffer(data, dtype, count, at)
        at += _padded(count * dtype.itemsize)
    return columns


def _padded(size: int) -> int:
    return -size % 8 + size


class Sent:
    """Numbers the schemas that this side sends; ids begin at 1."""

    def __init__(self) -> None:
        self._ids: dict[tuple, int] = {}

    def id(self, kind: int, columns: list[tuple[str, int]]) -> tuple[int, pb.Schema | None]:
        """The id of a schema, and its message if the other side has not seen it."""
        key = (kind, *columns)
        known = self._ids.get(key)
        if known is not None:
            return known, None
        number = self._ids[key] = len(self._ids) + 1
        described = [pb.Schema.Column(name=name, type=code) for name, code in columns]
        return number, pb.Schema(id=number, kind=kind, columns=described)


def encode(rows: Any) -> tuple[list[tuple[str, int]], bytes, int]:
    """Schema, `rows` field and number of rows of what a plugin wants written."""
    columns = _columns_of(rows)
    if EPOCH not in columns:
        raise wrong_type(f"rows have no column {EPOCH}: {', '.join(columns) or 'none at all'}")
    times = _times(columns)
    parts, schema = [len(times).to_bytes(8, "little"), times.tobytes()], []
    for name, values in columns.items():
        if name == EPOCH:
            continue
        array = _array(name, values)
        if len(array) != len(times):
            raise wrong_type(f"column {name} has {len(array)} rows, {EPOCH} has {len(times)}")
        parts += (array.tobytes(), bytes(-array.nbytes % 8))
        schema.append((name, _CODES[array.dtype.kind, array.itemsize]))
    return schema, b"".join(parts), len(times)


def _columns_of(rows: Any) -> dict[str, Any]:
    if isinstance(rows, Rows):
        return dict(rows.numpy())
    if isinstance(rows, Mapping):
        return dict(rows)
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        return {name: rows[name] for name in rows.dtype.names}
    raise wrong_type(f"rows are a map of columns or a structured array, not {type(rows).__name__}")


def _times(columns: dict[str, Any]) -> np.ndarray:
    epoch = np.asarray(columns[EPOCH])
    if epoch.ndim != 1:
        raise wrong_type(f"column {EPOCH} has {epoch.ndim} dimensions, not 1")
    if epoch.dtype.kind == "M":
        if NANOSECONDS in columns:
            raise wrong_type(f"column {NANOSECONDS} goes with an {EPOCH} of seconds only")
        if np.isnat(epoch).any():
            raise wrong_type(f"column {EPOCH} holds NaT")
        times = epoch.astype("<M8[ns]")
        if (times.astype(epoch.dtype) != epoch).any():
            raise wrong_type(f"column {EPOCH} holds times outside of 1677 to 2262")
        return times.view("<i8")
    if epoch.dtype.kind not in "iu" and len(epoch):
        raise wrong_type(f"column {EPOCH} is {epoch.dtype}; it is datetime64, or seconds as integers")
    if len(epoch) and (int(epoch.max()) > _SECONDS_MAX or int(epoch.min()) < -_SECONDS_MAX):
        raise wrong_type(
            f"column {EPOCH} holds integers, which are seconds, of other centuries;"
            " nanoseconds are given as datetime64[ns]"
        )
    times = epoch.astype("<i8") * _SECOND
    # As pymarketstore has it: the part below a second in a column of its own.
    if NANOSECONDS in columns:
        below = _array(NANOSECONDS, columns.pop(NANOSECONDS))
        if len(below) != len(times) or below.dtype.kind not in "iu":
            raise wrong_type(f"column {NANOSECONDS} does not fit {EPOCH}")
        times = times + below.astype("<i8")
    return times


def _array(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise wrong_type(f"column {name} has {array.ndim} dimensions, not 1")
    dtype = array.dtype
    if dtype.kind == "U":
        if dtype.itemsize > _TEXT.itemsize and len(array) and np.char.str_len(array).max() > 16:
            raise wrong_type(f"column {name} has a text of more than 16 characters")
        return array.astype(_TEXT, copy=False)
    code = _CODES.get((dtype.kind, dtype.itemsize))
    if code is None:
        raise wrong_type(f"column {name} is {dtype}; a column is f4, f8, i1-i8, u1-u8 or text")
    return array.astype(DTYPES[code], copy=False)
