"""Rows of many buckets in one request: `POST /write`, with an answer for each bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import Unsupported, of_status
from .frames import Columns
from .keys import PARTS, parse
from .sql import ARROW
from .transport import Transport
from .writes import BucketReport, shape

_HEADERS = {"Content-Type": ARROW, "Accept": "application/json"}


def is_possible() -> bool:
    """Whether Arrow is there to write it."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def groups(
    buckets: Mapping[str, Columns], kinds: Mapping[str, str], bytes_max: int
) -> Iterator[tuple[str, list[str]]]:
    """Keys whose rows have one shape and kind and go in one request, with the kind.

    A bucket that is larger than a request stands alone.
    """
    waiting: dict[Any, tuple[int, list[str]]] = {}
    for key, columns in buckets.items():
        size = columns.bytes()
        place = (shape(columns), kinds[key])
        taken, keys = waiting.pop(place, (0, []))
        if keys and taken + size > bytes_max:
            yield kinds[key], keys
            taken, keys = 0, []
        waiting[place] = (taken + size, [*keys, key])
    for (_, kind), (_, keys) in waiting.items():
        yield kind, keys


def send(transport: Transport, buckets: Mapping[str, Columns], kind: str) -> list[BucketReport]:
    """Writes rows of one shape; `Unsupported` if the server does not know how."""
    path = f"/write?kind={kind}"
    reply = transport.request("POST", path, _body(buckets), _HEADERS, repeatable=False)
    if reply.status == 404:
        raise Unsupported("this server has no /write")
    try:
        told = {entry["key"]: entry for entry in json.loads(reply.body)["buckets"]}
        return [BucketReport(key, int(told[key]["rows"]), told[key]["error"]) for key in buckets]
    except (ValueError, KeyError, TypeError):
        raise of_status(reply.status, reply.reason()) from None


def _body(buckets: Mapping[str, Columns]) -> bytes:
    """An Arrow stream with the keys in front."""
    import pyarrow as pa

    parts = list(buckets.values())
    lengths = [len(part) for part in parts]
    codes = pa.array(np.repeat(np.arange(len(parts), dtype="i4"), lengths))
    columns: dict[str, Any] = {}
    for name, values in zip(PARTS, zip(*(parse(key) for key in buckets))):
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string()))
    times = pa.array(np.concatenate([part.times for part in parts]))
    columns["Epoch"] = times.cast(pa.timestamp("ns", "UTC"))
    for name in parts[0].values:
        columns[name] = pa.array(np.concatenate([part.values[name] for part in parts]))
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body
