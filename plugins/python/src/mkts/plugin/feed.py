"""Sources of events: the host owns the loop and the place, the plugin fetches and converts.

Rows of a batch and the token to resume behind them become one commit, so a feed that can be read
again from its token is stored exactly once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .calls import LEVELS, _choice, row_kind
from .errors import STALE, PluginError, limit
from .rows import Sent, encode
from .v1 import plugin_pb2 as pb

if TYPE_CHECKING:
    from .link import Link

# A token is a value of the state store.
TOKEN_BYTES_MAX = 1 << 20


class More(enum.Enum):
    """Why a batch ended."""

    # There is more at once.
    FULL = "full"
    # There is nothing more for now.
    TIMEOUT = "timeout"
    # The feed has ended for good.
    END = "end"


@dataclass(frozen=True)
class Progress:
    """How far a feed with an end is."""

    # From 0 to 1.
    share: float
    # For people: "3 of 7 files".
    text: str = ""


class SourceOut:
    """Where a source puts its rows; valid during one call of `next_batch`."""

    def __init__(self, link: Link, sent: Sent, rows: int, size: int):
        self._link = link
        self._sent = sent
        self._rows = rows
        self._bytes = size
        self._is_over = False
        self.writes: list[pb.Effect.Write] = []
        self.resume: bytes | None = None

    def append(self, key: str, rows: Any, kind: str | int = "bars") -> None:
        """Adds rows of a bucket to the batch; as `ctx.write`."""
        if self._is_over:
            raise PluginError("STALE: this batch has been handed over", STALE)
        number = row_kind(kind)
        columns, data, count = encode(rows)
        if count == 0:
            return
        schema_id, new = self._sent.id(number, columns)
        if new is not None:
            self._link.send(schema=new)
        self._rows = max(self._rows - count, 0)
        self._bytes = max(self._bytes - len(data), 0)
        self.writes.append(pb.Effect.Write(key=key, schema_id=schema_id, rows=data))

    def set_resume(self, token: bytes | str) -> None:
        """The token behind the rows appended so far; stored in their commit."""
        data = token.encode() if isinstance(token, str) else bytes(memoryview(token))
        if len(data) > TOKEN_BYTES_MAX:
            raise limit(f"a token may have {TOKEN_BYTES_MAX} bytes")
        self.resume = data

    @property
    def room(self) -> tuple[int, int]:
        """Rows and bytes that the batch still takes."""
        return self._rows, self._bytes

    @property
    def is_full(self) -> bool:
        return self._rows == 0 or self._bytes == 0

    @property
    def cancelled(self) -> bool:
        return self._link.shared.is_cancelled()

    def log(self, level: str, text: str) -> None:
        """Writes a line to the server's log: `error`, `warn`, `info` or `debug`."""
        self._link.log(_choice(LEVELS, level, "level"), str(text))

    def finish(self) -> None:
        self._is_over = True
