"""Rows on their way in: which bucket gets which, and how it went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InvalidInput, WriteError
from .frames import Columns, code, wire_bytes
from .keys import PARTS, parse, slot_seconds
from .times import SECOND

KINDS = ("bar", "tick")


@dataclass(frozen=True)
class BucketReport:
    """How the rows of one bucket fared."""

    key: str
    #: Rows that are stored.
    rows: int
    #: Why the others are not.
    error: str | None = None


@dataclass(frozen=True)
class WriteReport:
    """How a write went. What is stored is durable."""

    buckets: tuple[BucketReport, ...]

    @property
    def rows(self) -> int:
        """Rows that are stored."""
        return sum(bucket.rows for bucket in self.buckets)

    @property
    def errors(self) -> dict[str, str]:
        """What went wrong, by key."""
        return {bucket.key: bucket.error for bucket in self.buckets if bucket.error is not None}

    def raise_for_errors(self) -> WriteReport:
        """Raises a `WriteError` if there are errors."""
        if self.errors:
            raise WriteError(self)
        return self


def by_bucket(key: str, columns: Columns) -> dict[str, Columns]:
    """Rows by bucket: a part of the key that is `*` is taken from the column of its name."""
    parts = parse(key)
    for name, part in zip(PARTS, parts):
        if part != "*" and ("*" in part or "," in part or ":" in part):
            raise InvalidInput(f"key {key!r}: a part is a name or *, the column {name!r} then")
        column = columns.keys.get(name)
        if part == "*" and column is None:
            raise InvalidInput(f"key {key!r}: there is no text column {name!r} for its *")
        if part != "*" and column is not None and bool((column != part).any()):
            row = int((column != part).argmax())
            raise InvalidInput(f"column {name!r}: row {row} is {str(column[row])!r}, the key says {part!r}")
    open_parts = [name for name, part in zip(PARTS, parts) if part == "*"]
    if not open_parts:
        return {key: columns}
    if not len(columns):
        return {}
    labels = np.array(["/".join(row) for row in zip(*(columns.keys[name] for name in open_parts))])
    found: dict[str, Columns] = {}
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]])
    for rows in np.split(order, edges[1:]):
        own = dict(zip(open_parts, labels[rows[0]].split("/")))
        full = "/".join(own.get(name, part) for name, part in zip(PARTS, parts))
        parse(full)
        found[full] = columns.take(rows)
    return found


def has_parts(times: np.ndarray) -> bool:
    """Whether there are times between whole seconds."""
    return bool((times % SECOND != 0).any())


def check_bars(key: str, times: np.ndarray) -> None:
    """Refuses rows of a new bucket that would not all be kept if they were bars."""
    hint = "kind='tick' keeps every row at its time, kind='bar' the last one of each slot"
    seconds = slot_seconds(parse(key)[1])
    slots = times
    if seconds:
        off = times % (seconds * SECOND) != 0
        if bool(off.any()):
            at = np.datetime64(int(times[int(off.argmax())]), "ns")
            raise InvalidInput(f"{key} is new, and {at} is not the start of a bar", hint=hint)
    if len(np.unique(slots)) != len(slots):
        raise InvalidInput(f"{key} is new, and two rows have one time", hint=hint)


def request(buckets: Mapping[str, Columns], kind: str) -> dict[str, Any]:
    """The request of `DataService.Write` for rows of one shape: one commit."""
    columns = list(buckets.values())
    times = _join([one.times for one in columns])
    seconds = times // SECOND
    names, types, data = ["Epoch"], ["i8"], [wire_bytes(seconds)]
    for name, column in columns[0].values.items():
        names.append(name)
        types.append(code(column))
        data.append(wire_bytes(_join([one.values[name] for one in columns])))
    if kind == "tick":
        names.append("Nanoseconds")
        types.append("i4")
        data.append(wire_bytes((times - seconds * SECOND).astype("<i4")))
    starts, lengths, start = {}, {}, 0
    for key, one in buckets.items():
        starts[key], lengths[key] = start, len(one)
        start += len(one)
    dataset = {
        "types": types,
        "names": names,
        "data": data,
        "length": len(times),
        "startindex": starts,
        "lengths": lengths,
    }
    return {"dataset": dataset, "is_variable_length": kind == "tick"}


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def parts_of(columns: Columns, bytes_max: int) -> Iterator[Columns]:
    """Rows in parts of a size that one request may have; one part if they fit."""
    width = 12 + sum(column.dtype.itemsize for column in columns.values.values())
    rows = max(bytes_max // width, 1)
    if len(columns) <= rows:
        yield columns
        return
    for start in range(0, len(columns), rows):
        yield columns.take(slice(start, start + rows))


def shape(columns: Columns) -> tuple[tuple[str, str], ...]:
    """Names and types: rows of one shape go in one request."""
    return tuple((name, column.dtype.str) for name, column in columns.values.items())
