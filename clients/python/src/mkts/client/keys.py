"""Bucket keys: `AAPL/1Min/OHLCV`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import InvalidInput

#: The parts of a key, as columns are named.
PARTS = ("symbol", "timeframe", "attribute_group")
_SECONDS = {"Sec": 1, "S": 1, "Min": 60, "T": 60, "H": 3600}
_TIMEFRAME = re.compile(r"(\d+)(Sec|Min|[STHDWMY])")


def parse(key: str) -> tuple[str, str, str]:
    """The three parts of a key."""
    if not isinstance(key, str):
        raise InvalidInput(f"a key is text like AAPL/1Min/OHLCV, not {type(key).__name__}")
    parts = key.split("/")
    if len(parts) != 3 or not all(parts):
        raise InvalidInput(
            f"key {key!r}: three parts are needed, symbol/timeframe/attribute group",
            hint="as in AAPL/1Min/OHLCV",
        )
    return parts[0], parts[1], parts[2]


def concrete(key: str) -> str:
    """A key of one bucket: no list, no pattern."""
    for part in parse(key):
        if "," in part or "*" in part or ":" in part:
            raise InvalidInput(f"key {key!r}: one bucket is needed, no list and no pattern")
    return key


def is_plural(key: str) -> bool:
    """Whether a key stands for several buckets."""
    return "*" in key or "," in key


def groups(keys: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """The symbols of keys by timeframe and attribute group, each once, in order."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for key in keys:
        symbols, timeframe, group = parse(key)
        if "*" in timeframe or "*" in group or ("*" in symbols and symbols != "*"):
            raise InvalidInput(
                f"key {key!r}: in a query only the whole symbol can be *",
                hint='sql() reads any pattern: SELECT * FROM "A*/1Min/OHLCV"',
            )
        found.setdefault((timeframe, group), {}).update(dict.fromkeys(symbols.split(",")))
    return {place: list(symbols) for place, symbols in found.items()}


def slot_seconds(timeframe: str) -> int | None:
    """The seconds of a slot that begins at the same seconds in every zone; `None` for others."""
    found = _TIMEFRAME.fullmatch(timeframe)
    if found is None or found[2] not in _SECONDS:
        return None
    return int(found[1]) * _SECONDS[found[2]] or None
