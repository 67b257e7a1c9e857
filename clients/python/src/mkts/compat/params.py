"""What a query asks for."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pandas as pd


def get_timestamp(value: Any) -> pd.Timestamp | None:
    """A time: integers are seconds, without a zone it is UTC."""
    if value is None:
        return None
    is_number = isinstance(value, (int, np.integer))
    time: pd.Timestamp = pd.Timestamp(value, unit="s") if is_number else pd.Timestamp(value)
    return time


def isiterable(something: Any) -> bool:
    """Whether something is a list, tuple or set."""
    return isinstance(something, (list, tuple, set))


def nanoseconds(time: pd.Timestamp) -> tuple[int, int]:
    """Seconds since 1970, and nanoseconds of them."""
    return divmod(int(time.value), 10**9)


class ListSymbolsFormat(Enum):
    """What `list_symbols` lists."""

    #: Symbols.
    SYMBOL = "symbol"
    #: Keys of buckets.
    TBK = "tbk"


class Params:
    """One query: symbols, timeframe, attribute group, and which rows of them."""

    def __init__(
        self,
        symbols: Any,
        timeframe: str,
        attrgroup: str,
        start: Any = None,
        end: Any = None,
        limit: int | None = None,
        limit_from_start: bool | None = None,
        columns: list[str] | None = None,
        functions: list[str] | None = None,
    ) -> None:
        if not isiterable(symbols):
            symbols = [symbols]
        self.tbk = ",".join(symbols) + "/" + timeframe + "/" + attrgroup
        #: `None` is the order of the server.
        self.key_category: str | None = None
        self.start = get_timestamp(start)
        self.end = get_timestamp(end)
        self.limit = limit
        self.limit_from_start = limit_from_start
        self.columns = columns
        self.functions = functions

    def set(self, key: str, val: Any) -> Params:
        """Changes one of the attributes."""
        if not hasattr(self, key):
            raise AttributeError()
        setattr(self, key, get_timestamp(val) if key in ("start", "end") else val)
        return self

    def __repr__(self) -> str:
        return (
            f"Params(tbk={self.tbk}, start={self.start}, end={self.end}, limit={self.limit}, "
            f"limit_from_start={self.limit_from_start}columns={self.columns})"
        )
