"""What buckets are: `DataService.GetInfo`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from . import rpc
from .errors import NotFound, of_text
from .transport import Transport

#: Buckets in one call.
REQUESTS = 1024

Kind = Literal["bar", "tick"]

_CODES = {
    0: "float32", 1: "int32", 2: "float64", 3: "int64", 5: "int8", 9: "int16",
    10: "uint8", 11: "uint16", 12: "uint32", 13: "uint64", 14: "str",
}  # fmt: skip


@dataclass(frozen=True)
class BucketInfo:
    """What a bucket is."""

    key: str
    kind: Kind
    #: Length of a slot in nanoseconds.
    timeframe_ns: int
    #: Names and types, without `Epoch`.
    columns: dict[str, str]
    #: Year of the newest row.
    latest_year: int


def infos(transport: Transport, keys: Sequence[str]) -> list[BucketInfo | None]:
    """What each bucket is; `None` where there is none."""
    found: list[BucketInfo | None] = []
    for start in range(0, len(keys), REQUESTS):
        part = keys[start : start + REQUESTS]
        requests = [{"key": key} for key in part]
        result = rpc.call(transport, "GetInfo", {"requests": requests}, repeatable=True)
        found += [_info(key, one) for key, one in zip(part, result["responses"] or [])]
    return found


def _info(key: str, entry: Mapping[str, Any]) -> BucketInfo | None:
    error = entry["ServerResp"]["error"]
    if error:
        failure = of_text(error)
        if isinstance(failure, NotFound):
            return None
        raise failure
    columns = {one["Name"]: _CODES.get(one["Type"], "unknown") for one in entry["DSV"] or []}
    columns.pop("Epoch", None)
    kind: Kind = "tick" if entry["RecordType"] == 1 else "bar"
    return BucketInfo(key, kind, int(entry["TimeFrame"]), columns, int(entry["LatestYear"]))
