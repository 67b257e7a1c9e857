"""Replies of `DataService.Query` as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import MktsError
from .result import EPOCH, Table
from .times import SECOND

#: For keys with columns of unsigned bytes: which of them are signed.
Signed = Callable[[Sequence[str]], Mapping[str, "set[str]"]]


def tables(responses: Sequence[Mapping[str, Any]], signed: Signed) -> dict[str, Table]:
    """Tables by key."""
    found: dict[str, Table] = {}
    for response in responses:
        found.update(_tables(response["result"], signed))
    return found


def _tables(dataset: Mapping[str, Any], signed: Signed) -> dict[str, Table]:
    columns = _columns(dataset)
    if not columns:
        return {}
    slices = {}
    for full, start in dataset["startindex"].items():
        slices[full.split(":")[0]] = slice(start, start + dataset["lengths"][full])
    maybe = [name for name, column in columns.items() if column.dtype == np.uint8]
    bytes_of = signed(list(slices)) if maybe else {}
    found = {}
    for key, rows in slices.items():
        own = {}
        for name, column in columns.items():
            part = column[rows]
            own[name] = part.view("i1") if name in bytes_of.get(key, ()) else part
        found[key] = Table(key, own)
    return found


def _columns(dataset: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns over all buckets, with `Epoch` as datetime64[ns]."""
    columns: dict[str, np.ndarray] = {}
    for name, kind, data in zip(dataset["names"] or [], dataset["types"], dataset["data"]):
        dtype = np.dtype(kind).newbyteorder("<")
        if len(data) != dataset["length"] * dtype.itemsize:
            raise MktsError(f"the answer is damaged: column {name!r} has {len(data)} bytes")
        columns[name] = np.frombuffer(data, dtype)
    if columns:
        times = columns[EPOCH] * SECOND
        if "Nanoseconds" in columns and columns["Nanoseconds"].dtype == np.int32:
            times += columns.pop("Nanoseconds")
        columns[EPOCH] = times.view("M8[ns]")
    return columns
