"""What a plugin may do: effects are collected here and travel with the answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .errors import STALE, PluginError, limit, unsupported, wrong_type
from .rows import BARS, TICKS, Rows, Schema, Sent, encode
from .state import Copy, State
from .times import MAX, MIN, Time, nanoseconds
from .v1 import plugin_pb2 as pb

if TYPE_CHECKING:
    from .link import Link

# They must fit one message, which has 64 MiB.
EFFECT_BYTES_MAX = 60 << 20
EFFECT_BYTES = 64
CHANGES_MAX = 10_000
LEVELS = {"error": 0, "warn": 1, "warning": 1, "info": 2, "debug": 3}
HEALTH = {"ok": 0, "degraded": 1, "failing": 2}
_KINDS = {"bars": BARS, "ticks": TICKS, BARS: BARS, TICKS: TICKS}


@dataclass(frozen=True, slots=True)
class FireInfo:
    """Where a fire stands; times are nanoseconds since 1970."""

    first_lsn: int = 0
    last_lsn: int = 0
    # 1 for the first attempt.
    attempt: int = 1
    # Whether the event may have been fired before a restart.
    is_replay: bool = False
    now: int = 0
    deadline: int = MAX


def row_kind(kind: str | int) -> int:
    """The number of a kind of rows."""
    number = _KINDS.get(kind)
    if number is None:
        raise wrong_type(f'kind {kind!r}; it is "bars" (one row per time) or "ticks" (every row)')
    return number


class FireCtx:
    """Valid during one fire. Effects happen when the fire has succeeded, or not at all."""

    def __init__(self, link: Link, copy: Copy, sent: Sent, seq: int, info: FireInfo, config: Any):
        self.info = info
        self.config = config
        self._link = link
        self._copy = copy
        self._sent = sent
        self._seq = seq
        self._effects: list[pb.Effect] = []
        # Schemas that do not travel by themselves: a commit carries its own.
        self._schemas: list[pb.Schema] | None = None
        self._bytes = 0
        self._changes = 0
        self._is_read_only = False
        self._is_over = False

    @property
    def state(self) -> State:
        """The instance's state, or that of the event's bucket if the manifest says so."""
        return State(self)

    @property
    def instance(self) -> str:
        """The instance's id."""
        return self._link.instance

    @property
    def cancelled(self) -> bool:
        """Whether the work is to end: it runs too long, or the server stops."""
        return self._link.shared.is_cancelled()

    def write(self, key: str, rows: Any, kind: str | int = "bars") -> None:
        """Writes rows of a bucket; a missing bucket is made, of this kind.

        `rows` is a map of columns or a structured array. `Epoch` is datetime64, or integers, which
        are seconds as in pymarketstore (then with `Nanoseconds` beside it, if need be).
        """
        number = row_kind(kind)
        columns, data, count = encode(rows)
        if count == 0:
            return
        schema_id = self._schema_id(number, columns)
        write = pb.Effect.Write(key=key, schema_id=schema_id, rows=data)
        self._effect(pb.Effect(write=write), len(data) + len(key))

    def delete(self, key: str, start: Time = MIN, end: Time = MAX) -> None:
        """Deletes the rows of a bucket from `start` to `end` (inclusive), once the window is committed.

        Rows that the window wrote before are deleted, too.
        """
        gone = pb.Effect.DeleteRange(
            key=key, from_ns=nanoseconds(start), to_ns=nanoseconds(end)
        )
        self._effect(pb.Effect(delete_range=gone), len(key))

    def query(
        self,
        key: str,
        start: Time = MIN,
        end: Time = MAX,
        columns: Sequence[str] = (),
        first: int | None = None,
        last: int | None = None,
    ) -> Rows | None:
        """Rows of a bucket from `start` to `end` (inclusive), ascending; None if there is no bucket.

        They are of a snapshot at the event's last commit or later, without what this window writes.
        """
        self._check()
        if first is not None and last is not None:
            raise wrong_type("query takes first or last, not both")
        wanted = first if first is not None else last
        request = pb.QueryRequest(
            epoch=self._link.epoch,
            seq=self._seq,
            attempt=self.info.attempt,
            key=key,
            from_ns=nanoseconds(start),
            to_ns=nanoseconds(end),
            columns=[columns] if isinstance(columns, str) else columns,
            # A question for nothing would be one for everything.
            limit=0 if wanted is None else max(int(wanted), 1),
            from_end=last is not None,
        )
        schema, parts = None, []
        for answer in self._link.query(request):
            _check_answer(answer)
            if answer.HasField("schema"):
                schema = Schema.of(answer.schema)
            if answer.rows and wanted != 0:
                parts.append(answer.rows)
        return None if schema is None else Rows(schema, parts)

    def set_timer(self, key: str | bytes, due: Time, payload: str | bytes = b"") -> None:
        """Sets a timer; one is pending per key, the same key replaces. `due` is wall clock."""
        timer = pb.Effect.TimerSet(key=_bytes(key), due_ns=nanoseconds(due), payload=_bytes(payload))
        self._change(pb.Effect(timer_set=timer), len(timer.key) + len(timer.payload))

    def cancel_timer(self, key: str | bytes) -> None:
        """Forgets a timer."""
        data = _bytes(key)
        self._change(pb.Effect(timer_cancel=pb.Effect.TimerCancel(key=data)), len(data))

    def publish(self, stream: str, payload: str | bytes) -> None:
        """Sends a message to the subscribers of a stream, once the window is committed."""
        data = _bytes(payload)
        publish = pb.Effect.Publish(stream=stream, payload=data)
        self._effect(pb.Effect(publish=publish), len(stream) + len(data))

    def log(self, level: str, text: str) -> None:
        """Writes a line to the server's log: `error`, `warn`, `info` or `debug`."""
        self._link.log(_choice(LEVELS, level, "level"), str(text))

    def count(self, metric: str, by: float = 1.0) -> None:
        """Adds to a metric that the manifest names, shown as `mkts_plugin_<name>_<metric>`."""
        self._link.shared.count(metric, float(by))

    def health(self, health: str, text: str = "") -> None:
        """Says how the plugin is (`ok`, `degraded`, `failing`); holds until said otherwise."""
        self._link.shared.set_health(_choice(HEALTH, health, "health"), text)

    # ---- effects ----

    def _check(self) -> None:
        if self._is_over:
            raise PluginError("STALE: this ctx was valid during one call, which is over", STALE)

    def _effect(self, effect: pb.Effect, size: int) -> None:
        self._check()
        if self._is_read_only:
            raise unsupported("changes")
        if self._bytes + size + EFFECT_BYTES > EFFECT_BYTES_MAX:
            raise limit(f"effects of one fire have more than {EFFECT_BYTES_MAX} bytes")
        self._bytes += size + EFFECT_BYTES
        self._effects.append(effect)

    def _change(self, effect: pb.Effect, size: int) -> None:
        if self._changes >= CHANGES_MAX:
            raise limit(f"a fire may change state and timers {CHANGES_MAX} times")
        self._effect(effect, size)
        self._changes += 1

    def _schema_id(self, kind: int, columns: list[tuple[str, int]]) -> int:
        self._check()
        number, new = self._sent.id(kind, columns)
        if new is not None:
            if self._schemas is None:
                self._link.send(schema=new)
            else:
                self._schemas.append(new)
        return number

    # ---- state; what `State` is made of ----

    def known_value(self, key: bytes) -> bytes | int | None:
        return self._copy.get(key)[1]

    def state_value(self, key: bytes) -> bytes | int | None:
        self._check()
        is_known, value = self._copy.get(key)
        if is_known:
            return value
        request = pb.StateGetRequest(
            epoch=self._link.epoch, seq=self._seq, attempt=self.info.attempt, key=key
        )
        answer = self._link.state_get(request)
        _check_answer(answer)
        value = state_value(answer.value)
        self._copy.note(key, value)
        return value

    def state_put(self, key: bytes, value: bytes) -> None:
        self._change(pb.Effect(put=pb.Effect.Put(key=key, value=value)), len(key) + len(value))
        self._copy.set(key, value)

    def state_delete(self, key: bytes) -> None:
        self._change(pb.Effect(delete=pb.Effect.Delete(key=key)), len(key))
        self._copy.set(key, None)

    def state_count(self, key: bytes, by: int, total: int) -> None:
        self._change(pb.Effect(count=pb.Effect.Count(key=key, by=by)), len(key))
        self._copy.set(key, total)

    def state_scan(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes | int]]:
        self._check()
        # What is known overrules what the server says, which may lack this fire's changes.
        found = self._copy.with_prefix(prefix)
        if not self._copy.is_complete:
            gone = sum(value is None for value in found.values())
            request = pb.StateScanRequest(
                epoch=self._link.epoch,
                seq=self._seq,
                attempt=self.info.attempt,
                prefix=prefix,
                limit=limit + gone,
            )
            answer = self._link.state_scan(request)
            _check_answer(answer)
            found = {entry.key: state_value(entry.value) for entry in answer.entries} | found
        there = ((key, found[key]) for key in sorted(found))
        return [(key, value) for key, value in there if value is not None][:limit]

    # ---- for those that make a ctx ----

    def finish(self) -> list[pb.Effect]:
        """Ends the ctx and hands its effects out."""
        self._is_over = True
        return self._effects


class WorkerCtx(FireCtx):
    """Valid while a worker runs. What is not committed when `run` returns is committed then, and
    dropped if it raises."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._schemas = []

    @property
    def info(self) -> FireInfo:
        # A worker's time goes on while it runs; no message of the server says what it is.
        return replace(self._start, now=time.time_ns())

    @info.setter
    def info(self, info: FireInfo) -> None:
        self._start = info

    def commit(self) -> None:
        """Makes rows and state so far one commit; it is visible on return."""
        self._check()
        effects, schemas = self._effects, self._schemas
        self._effects, self._schemas = [], []
        self._bytes = self._changes = 0
        self._sent.__init__()
        request = pb.CommitRequest(
            epoch=self._link.epoch, seq=self._seq, effects=effects, schemas=schemas
        )
        try:
            _check_answer(self._link.commit(request))
        except BaseException:
            self._copy.roll_back()
            raise
        self._copy.keep()

    def sleep(self, seconds: float) -> bool:
        """Pauses; False if the worker is to end."""
        return self._link.shared.sleep(seconds)

    def final(self) -> tuple[list[pb.Effect], list[pb.Schema]]:
        """Ends the ctx and hands out what is not committed."""
        return self.finish(), self._schemas or []


@dataclass(frozen=True)
class Init:
    """What an object is told when it is made."""

    # The instance's id.
    instance: str
    # Number of this start.
    epoch: int
    # IANA name of the server's time zone: where days begin.
    timezone: str
    # To read; changes are refused.
    state: State
    # A function's ctx has it, too.
    config: Any = None


def state_value(message: pb.StateValue) -> bytes | int | None:
    """A value as it came."""
    which = message.WhichOneof("value")
    return None if which is None else getattr(message, which)


def _check_answer(answer: Any) -> None:
    if answer.code != 0:
        raise PluginError(answer.message, answer.code)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _choice(known: dict[str, int], value: str, name: str) -> int:
    number = known.get(value)
    if number is None:
        raise wrong_type(f"{name} {value!r}; known are {', '.join(known)}")
    return number
