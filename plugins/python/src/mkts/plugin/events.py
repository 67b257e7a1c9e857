"""What a fire is about."""

from __future__ import annotations

from dataclasses import dataclass

from .rows import BARS, Rows, Schema


class Key(str):
    """A bucket, "SYM/TF/AG"."""

    __slots__ = ()

    @property
    def symbol(self) -> str:
        return self.split("/", 1)[0]

    @property
    def timeframe(self) -> str:
        return self.split("/", 2)[1]

    @property
    def attribute_group(self) -> str:
        return self.split("/", 2)[2]


class Batch(Rows):
    """New rows of one bucket in commit order: ascending in time within a commit, not across."""

    __slots__ = ("key",)

    def __init__(self, key: str, schema: Schema, data: bytes):
        super().__init__(schema, [data])
        self.key = Key(key)

    @property
    def kind(self) -> str:
        """`bars` (one row per time) or `ticks` (every row)."""
        return "bars" if self._schema.kind == BARS else "ticks"


@dataclass(frozen=True, slots=True)
class Write:
    """New rows of one bucket, those of neighbouring commits joined."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows of this range (ns, inclusive) may have changed: read them again."""

    key: Key
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The bucket was dropped."""

    key: Key


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer is due; the key of the entry's `schedule:` is `b"__schedule"`."""

    key: bytes
    due: int
    payload: bytes


Event = Write | Gap | Deleted | Timer
